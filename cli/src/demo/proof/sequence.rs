//! Holding what a watcher has received against what it had to receive: nothing missing, nothing twice, nothing out of order,
//! nothing else, and each event as it has to be.

use std::collections::{BTreeMap, BTreeSet};

use tailwater::ResumeToken;
use tailwater::oplog::LogId;

use super::summary;
use crate::demo::effect::Effect;
use crate::demo::written::Seen;

/// What is wrong; empty when both are the same.
pub(super) fn compare(expected: &[Seen], received: &[Seen]) -> Vec<String> {
    let wanted: BTreeMap<u64, &Seen> = expected.iter().map(|seen| (seen.op_id, seen)).collect();
    let mut met = BTreeSet::new();
    let (mut twice, mut late, mut strange, mut altered) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut highest = 0;
    for seen in received {
        match wanted.get(&seen.op_id) {
            None => strange.push(name(seen)),
            Some(&wanted) if wanted != seen => altered.push(name(seen)),
            Some(_) => {}
        }
        if !met.insert(seen.op_id) {
            twice.push(name(seen));
        } else if seen.op_id < highest {
            late.push(name(seen));
        }
        highest = highest.max(seen.op_id);
    }
    let missing: Vec<_> = expected
        .iter()
        .filter(|seen| !met.contains(&seen.op_id))
        .map(name)
        .collect();
    let faults = [
        summary("events that are missing", &missing),
        summary("events that came more than once", &twice),
        summary("events that came out of order", &late),
        summary("events that should not have come", &strange),
        summary("events that are not as they have to be", &altered),
    ];
    faults.into_iter().flatten().collect()
}

/// Whether every token stands where its event does.
pub(super) fn compare_tokens(effects: &[Effect], log: LogId) -> Vec<String> {
    let wrong = effects.iter().filter(|effect| {
        let token = effect.token.parse::<ResumeToken>();
        !token.is_ok_and(|token| token.log_id() == log && token.op_id().get() == effect.seen.op_id)
    });
    let wrong: Vec<_> = wrong.map(|effect| name(&effect.seen)).collect();
    summary("events that carry a wrong token", &wrong).into_iter().collect()
}

fn name(seen: &Seen) -> String {
    format!("{} of {} (OpID {})", seen.operation, seen.day, seen.op_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::sabotage::Sabotage;

    fn lines() -> Vec<String> {
        let line = |op_id| {
            let seen = Seen {
                op_id,
                operation: "insert".into(),
                day: format!("day {op_id}"),
                digest: "00".into(),
            };
            let token = "token".into();
            Effect { token, seen }.line().trim_end().to_owned()
        };
        [2, 3, 5, 8, 13].into_iter().map(line).collect()
    }

    fn seen(lines: &[String]) -> Vec<Seen> {
        lines.iter().map(|line| Effect::parse(line).unwrap().seen).collect()
    }

    fn after(sabotage: Sabotage) -> Vec<String> {
        let mut tampered = lines();
        assert!(sabotage.tamper(&mut tampered));
        compare(&seen(&lines()), &seen(&tampered))
    }

    #[test]
    fn equal_sequences_have_no_faults() {
        assert_eq!(compare(&seen(&lines()), &seen(&lines())), Vec::<String>::new());
    }

    #[test]
    fn a_dropped_event_is_found() {
        assert_eq!(
            after(Sabotage::Drop),
            ["events that are missing: 1 (insert of day 5 (OpID 5))"]
        );
    }

    #[test]
    fn a_duplicated_event_is_found() {
        assert_eq!(
            after(Sabotage::Duplicate),
            ["events that came more than once: 1 (insert of day 5 (OpID 5))"]
        );
    }

    #[test]
    fn swapped_events_are_found() {
        assert_eq!(
            after(Sabotage::Reorder),
            ["events that came out of order: 1 (insert of day 3 (OpID 3))"]
        );
    }

    #[test]
    fn an_altered_event_is_found() {
        assert_eq!(
            after(Sabotage::Alter),
            ["events that are not as they have to be: 1 (insert of day 5 (OpID 5))"]
        );
    }

    #[test]
    fn an_event_for_others_is_found() {
        let all = seen(&lines());
        let faults = compare(&all[..4], &all);
        assert_eq!(
            faults,
            ["events that should not have come: 1 (insert of day 13 (OpID 13))"]
        );
    }

    #[test]
    fn many_faults_are_counted_and_a_few_named() {
        let all: Vec<Seen> = (1..=9)
            .map(|op_id| Seen {
                op_id,
                ..seen(&lines())[0].clone()
            })
            .collect();
        let faults = compare(&all, &[]);
        assert!(
            faults[0].starts_with("events that are missing: 9 (") && faults[0].ends_with(" and 4 more)"),
            "{faults:?}"
        );
    }

    #[test]
    fn a_forged_token_is_found() {
        let effect = Effect::parse(&lines()[0]).unwrap();
        assert_eq!(compare_tokens(&[effect], LogId::from_bytes([0; 16])).len(), 1);
    }
}
