//! What a primary may do, and for how long: have a member's log replaced by a copy, and count a majority.

use tailwater_oplog::{Member, OpId, Term, Timestamp};
use tailwater_replication::decision::{
    Hello, History, LogName, MemberNumber, PeerId, Position, Primary, PrimaryInput, PrimaryOutput, Report,
};

const LOG: LogName = LogName([7; 16]);

fn term(number: u32) -> Term {
    Term::new(number)
}

#[test]
fn only_an_elected_primary_that_knows_as_much_has_a_log_replaced() {
    let members: Vec<String> = ["a", "b", "c"].map(String::from).into();
    let (a, written) = (Member::new(0).unwrap(), term(128));
    let new = |members: &[String]| {
        Primary::new(
            a,
            members.into(),
            History::empty(LOG, OpId::FIRST),
            term(0),
            written,
            OpId::ZERO,
        )
    };
    let nothing = Position::default();

    let (mut primary, _) = new(&members);
    assert!(!primary.may_replace(term(0), nothing), "nobody has agreed to it");
    let hello = Hello {
        member: MemberNumber(1),
        name: "b".into(),
        members: members.clone(),
        promised: term(0),
        history: History::empty(LOG, OpId::FIRST),
        durable: OpId::ZERO,
        part: None,
        marks: Vec::new(),
    };
    primary.step(PrimaryInput::Hello(PeerId(1), hello));
    let elected = primary.step(PrimaryInput::Report(PeerId(1), Report::Grant(term(129))));
    assert!(elected.contains(&PrimaryOutput::BeginTerm(term(129))));
    assert!(
        !primary.may_replace(term(129), nothing),
        "nothing is written in its term"
    );
    primary.step(PrimaryInput::Appended {
        term: term(129),
        first: OpId::FIRST,
        timestamp: Timestamp::from_nanos(1),
        last: OpId::FIRST,
    });
    let rank = |number, op_id| Position {
        term: term(number),
        op_id: OpId::new(op_id),
    };
    for (promised, known, may) in [
        (0, nothing, true),
        (129, rank(129, 1), true),
        (129, rank(129, 2), false),
        (131, nothing, false),
        (131, rank(131, 1), false),
    ] {
        assert_eq!(primary.may_replace(term(promised), known), may, "{promised} {known:?}");
    }

    // Without a list the operator's word is enough.
    let (primary, _) = new(&[]);
    assert!(primary.may_replace(term(0), nothing));
    assert!(!primary.may_replace(term(256), nothing));
}

/// An elected primary of `a`, whose term 129 has begun with entry 1, which `b` follows.
fn elected() -> Primary {
    let members: Vec<String> = ["a", "b", "c"].map(String::from).into();
    let empty = History::empty(LOG, OpId::FIRST);
    let a = Member::new(0).unwrap();
    let (mut primary, _) = Primary::new(a, members.clone(), empty.clone(), term(0), term(128), OpId::ZERO);
    let hello = Hello {
        member: MemberNumber(1),
        name: "b".into(),
        members,
        promised: term(0),
        history: empty,
        durable: OpId::ZERO,
        part: None,
        marks: Vec::new(),
    };
    primary.step(PrimaryInput::Hello(PeerId(1), hello));
    primary.step(PrimaryInput::Report(PeerId(1), Report::Grant(term(129))));
    primary.step(appended(129, 1, 1));
    primary
}

fn appended(number: u32, first: u64, last: u64) -> PrimaryInput {
    PrimaryInput::Appended {
        term: term(number),
        first: OpId::new(first),
        timestamp: Timestamp::from_nanos(first),
        last: OpId::new(last),
    }
}

#[test]
fn a_primary_counts_nothing_when_another_has_begun_a_term_over_its_log() {
    let history = |primary: &Primary| {
        let mut history = primary.history().clone();
        history.extend(term(256), OpId::new(3), Timestamp::from_nanos(3), OpId::new(3));
        history
    };
    // As it comes, and as it is found after a trim.
    let news: [fn(&Primary, History) -> PrimaryInput; 2] =
        [|_, _| appended(256, 3, 3), |_, history| PrimaryInput::Looked(history)];
    for of in news {
        let mut primary = elected();
        primary.step(appended(129, 2, 2));
        let news = of(&primary, history(&primary));
        let outputs = primary.step(news);
        assert!(outputs.contains(&PrimaryOutput::Superseded(term(256))), "{outputs:?}");
        assert!(outputs.contains(&PrimaryOutput::Close(PeerId(1))), "{outputs:?}");
        assert!(
            !outputs
                .iter()
                .any(|output| matches!(output, PrimaryOutput::StepDown(_))),
            "the other one's writes go on: {outputs:?}"
        );
        assert!(primary.is_deposed() && !primary.is_served(PeerId(1)));
        // Whatever comes now, of the term that was elected as well.
        for input in [
            PrimaryInput::Sent(PeerId(1), OpId::new(3), 100),
            PrimaryInput::Durable(OpId::new(3)),
            PrimaryInput::Report(PeerId(1), Report::Durable(OpId::new(3))),
        ] {
            assert_eq!(primary.step(input.clone()), [], "{input:?}");
        }
        assert_eq!(primary.majority(), OpId::ZERO);
    }
    // Entries of older terms, and of its own, are no reason.
    let mut primary = elected();
    assert_eq!(primary.step(appended(129, 2, 2)), []);
    assert!(!primary.is_deposed());
}
