//! What a follower decides that is followed itself: a table of members that come to it.

use tailwater_oplog::{Member, OpId, Term, Timestamp};
use tailwater_replication::decision::{
    Course, Hello, History, LogName, MemberNumber, PeerId, Primary, PrimaryInput, PrimaryOutput, Refusal, Report,
    number_of,
};

/// A log: terms, each with its last entry.
type Runs<'a> = &'a [(Term, u64)];
/// What it is, what the relay has and whom it follows, what the member has and has promised, and the course that it is given.
type Case<'a> = (&'a str, Runs<'a>, Option<Term>, Runs<'a>, Term, Option<Course>);

const MEMBERS: [&str; 3] = ["a", "b", "c"];

/// A term of member `number`.
fn term(round: u32, number: u32, elected: bool) -> Term {
    Term::new(128 * round + 2 * number + u32::from(elected))
}

fn history(runs: Runs<'_>) -> History {
    let mut history = History::empty(LogName([7; 16]), OpId::FIRST);
    for &(term, last) in runs {
        let first = history.last.next();
        // One term's entries have the same timestamp in every log that has them.
        history.extend(term, first, Timestamp::from_nanos(first.get()), OpId::new(last));
    }
    history
}

fn hello(name: &str, members: &[String], promised: Term, history: History) -> Hello {
    Hello {
        member: number_of(name, members),
        name: name.into(),
        members: members.to_vec(),
        promised,
        durable: history.last,
        part: None,
        marks: Vec::new(),
        history,
    }
}

/// The member `b`, with entries of `runs`, which follows a primary that writes in `follows`.
fn relay(members: &[String], runs: Runs<'_>, follows: Option<Term>) -> Primary {
    let history = history(runs);
    let last = history.last;
    let mut relay = Primary::relay(Member::new(1).unwrap(), members.to_vec(), history, last);
    if let Some(term) = follows {
        relay.step(PrimaryInput::Follows(term));
    }
    relay
}

/// The course that `c` is given, or nothing when it is turned away to the primary.
fn course(relay: &mut Primary, hello: Hello) -> Option<Course> {
    match relay.step(PrimaryInput::Hello(PeerId(1), hello)).first() {
        Some(PrimaryOutput::Welcome(_, welcome)) => {
            assert_eq!(welcome.asks, None, "a relay asks nobody for a term");
            Some(welcome.course)
        }
        Some(PrimaryOutput::Refuse(_, Refusal::NotPrimary)) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_member_goes_on_is_cut_with_proof_or_is_turned_away() {
    let listed = MEMBERS.map(String::from);
    let (old, tail) = (term(1, 0, true), term(2, 2, false));
    let (begun, new, newer) = (term(2, 0, false), term(3, 0, true), term(4, 2, true));
    let none = Term::default();
    let here = [(old, 10), (new, 15)];
    let cut = Some(Course::Cut(OpId::new(10)));
    let cases: [Case<'_>; 9] = [
        (
            "goes on",
            &here,
            Some(new),
            &[(old, 8)],
            old,
            Some(Course::Continue(OpId::new(9))),
        ),
        (
            "goes on, though nobody is followed",
            &here,
            None,
            &here,
            new,
            Some(Course::Continue(OpId::new(16))),
        ),
        (
            "has a tail that an elected term has replaced",
            &here,
            Some(new),
            &[(old, 10), (tail, 12)],
            old,
            cut,
        ),
        (
            "the same, though nobody is followed",
            &here,
            None,
            &[(old, 10), (tail, 12)],
            old,
            cut,
        ),
        ("is ahead", &here, Some(new), &[(old, 10), (new, 17)], new, None),
        (
            "has a tail where there is nothing yet",
            &[(old, 10)],
            Some(new),
            &[(old, 10), (tail, 12)],
            old,
            None,
        ),
        (
            "has a tail, against one that was not elected",
            &[(old, 10), (begun, 15)],
            Some(begun),
            &[(old, 10), (tail, 12)],
            old,
            None,
        ),
        (
            "has promised a newer term",
            &here,
            Some(new),
            &[(old, 10), (tail, 12)],
            newer,
            None,
        ),
        (
            "has entries of a newer elected term",
            &here,
            Some(new),
            &[(old, 10), (newer, 12)],
            none,
            None,
        ),
    ];
    for (case, runs, follows, theirs, promised, expected) in cases {
        let mut relay = relay(&listed, runs, follows);
        let hello = hello("c", &listed, promised, history(theirs));
        assert_eq!(course(&mut relay, hello), expected, "a member that {case}");
    }
}

#[test]
fn without_a_list_the_word_of_a_primary_that_is_followed_counts() {
    let (old, tail, new) = (term(1, 40, false), term(2, 41, false), term(3, 40, false));
    let here = [(old, 10), (new, 15)];
    for (follows, expected) in [(Some(new), Some(Course::Cut(OpId::new(10)))), (None, None)] {
        let mut relay = relay(&[], &here, follows);
        let hello = hello("c", &[], tail, history(&[(old, 10), (tail, 12)]));
        assert_eq!(course(&mut relay, hello), expected);
    }
}

#[test]
fn what_a_relay_reports_counts_unless_the_member_speaks_for_itself() {
    let listed = MEMBERS.map(String::from);
    let elected = term(1, 1, true);
    let there = history(&[(elected, 20)]);
    let mut relay = relay(&listed, &[(elected, 20)], Some(elected));
    relay.step(PrimaryInput::Hello(
        PeerId(1),
        hello("a", &listed, elected, there.clone()),
    ));
    let holds = |op_id| PrimaryInput::Report(PeerId(1), Report::Holds(MemberNumber(2), "c".into(), OpId::new(op_id)));
    let held = |relay: &Primary| relay.held().get(&MemberNumber(2)).copied();
    relay.step(holds(7));
    assert_eq!(held(&relay), Some(OpId::new(7)));
    // Not more than was sent that way.
    relay.step(holds(99));
    assert_eq!(held(&relay), Some(OpId::new(20)));
    // It came back with an empty disk.
    relay.step(holds(3));
    assert_eq!(held(&relay), Some(OpId::new(3)));
    relay.step(PrimaryInput::Hello(PeerId(2), hello("c", &listed, elected, there)));
    relay.step(holds(4));
    assert_eq!(held(&relay), Some(OpId::new(20)));
}

#[test]
fn a_relay_takes_its_primarys_word_for_what_a_majority_holds() {
    let listed = MEMBERS.map(String::from);
    let (elected, begun) = (term(1, 0, true), term(2, 0, false));
    let mut relay = relay(&listed, &[(elected, 10)], Some(elected));
    let hello = hello("c", &listed, elected, history(&[(elected, 10)]));
    relay.step(PrimaryInput::Hello(PeerId(1), hello));
    let counted = |relay: &mut Primary, input| {
        let outputs = relay.step(input);
        outputs
            .iter()
            .any(|output| matches!(output, PrimaryOutput::Majority(_)))
    };
    // It sees entries of the elected term itself; then its primary is restarted, and has not been elected again.
    let inputs = [(elected, 11, 12), (begun, 13, 15)]
        .into_iter()
        .flat_map(|(term, first, last)| {
            let (first, last) = (OpId::new(first), OpId::new(last));
            let timestamp = Timestamp::from_nanos(first.get());
            [
                PrimaryInput::Follows(term),
                PrimaryInput::Appended {
                    term,
                    first,
                    timestamp,
                    last,
                },
                PrimaryInput::Durable(last),
                PrimaryInput::Sent(PeerId(1), last, 1),
                PrimaryInput::Report(PeerId(1), Report::Durable(last)),
                PrimaryInput::Report(PeerId(1), Report::Holds(MemberNumber(0), "a".into(), last)),
            ]
        });
    for input in inputs {
        assert!(!counted(&mut relay, input.clone()), "{input:?}");
    }
    assert_eq!(relay.held().get(&MemberNumber(2)), Some(&OpId::new(15)));
    assert_eq!(relay.status().majority, OpId::ZERO);
    relay.step(PrimaryInput::Majority(OpId::new(11)));
    assert_eq!(relay.status().majority, OpId::new(11));
}

#[test]
fn who_follows_a_relay_comes_again_when_that_follows_an_older_term() {
    let listed = MEMBERS.map(String::from);
    let (elected, other, begun) = (term(1, 0, true), term(2, 2, true), term(3, 0, false));
    let there = [(elected, 10)];
    let mut relay = relay(&listed, &there, Some(begun));
    // It has promised a term that is newer than the elected one here, and older than the one that was not elected.
    let hello = |history| hello("c", &listed, other, history);
    let shorter = hello(history(&[(elected, 4)]));
    assert_eq!(course(&mut relay, shorter), Some(Course::Continue(OpId::new(5))));
    relay.step(PrimaryInput::Sent(PeerId(1), OpId::new(10), 1));
    let durable = PrimaryInput::Report(PeerId(1), Report::Durable(OpId::new(10)));
    relay.step(durable.clone());
    assert_eq!(relay.held().get(&MemberNumber(2)), Some(&OpId::new(10)));
    relay.step(PrimaryInput::FollowsNobody);

    // What it took is not reported to the primary of the older term, and it is let on no more.
    let outputs = relay.step(PrimaryInput::Follows(elected));
    assert_eq!(outputs, [PrimaryOutput::Close(PeerId(1))]);
    relay.step(durable);
    assert!(relay.held().is_empty());
    assert_eq!(course(&mut relay, hello(history(&there))), None);
}

#[test]
fn who_follows_a_relay_stays_when_that_follows_a_newer_term() {
    let listed = MEMBERS.map(String::from);
    let (elected, next) = (term(1, 0, true), term(2, 0, true));
    let there = [(elected, 10)];
    let mut relay = relay(&listed, &there, Some(elected));
    let hello = hello("c", &listed, elected, history(&there));
    assert_eq!(course(&mut relay, hello), Some(Course::Continue(OpId::new(11))));
    for term in [elected, next] {
        assert_eq!(relay.step(PrimaryInput::Follows(term)), []);
    }
    assert_eq!(relay.held().get(&MemberNumber(2)), Some(&OpId::new(10)));
}

#[test]
fn a_relay_speaks_for_those_that_are_here() {
    let listed = ["a", "b", "c", "d", "e"].map(String::from);
    let elected = term(1, 0, true);
    let there = [(elected, 10)];
    let mut relay = relay(&listed, &there, Some(elected));
    let comes = |relay: &mut Primary, peer, name| {
        let hello = hello(name, &listed, elected, history(&there));
        relay.step(PrimaryInput::Hello(PeerId(peer), hello));
    };
    let spoken_for = |relay: &Primary| relay.held_here().into_keys().map(|member| member.0).collect::<Vec<_>>();
    // One follows it, and another is a relay that speaks for a third.
    comes(&mut relay, 1, "c");
    comes(&mut relay, 2, "d");
    let holds = || Report::Holds(MemberNumber(4), "e".into(), OpId::new(10));
    relay.step(PrimaryInput::Report(PeerId(2), holds()));
    assert_eq!(spoken_for(&relay), [2, 3, 4]);
    // Again for the third only when the other relay has spoken again.
    let again = |relay: &mut Primary| {
        relay
            .held_again()
            .into_iter()
            .map(|member| member.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(again(&mut relay), [2, 3, 4]);
    assert_eq!(again(&mut relay), [2, 3]);
    relay.step(PrimaryInput::Report(PeerId(2), holds()));
    assert_eq!(again(&mut relay), [2, 3, 4]);
    relay.step(PrimaryInput::Gone(PeerId(2)));
    assert_eq!(spoken_for(&relay), [2]);
    relay.step(PrimaryInput::Gone(PeerId(1)));
    assert!(spoken_for(&relay).is_empty());
    // It still counts as a holder of what it has said.
    assert_eq!(relay.held().len(), 3);

    // The third has come here by itself: what is said for it is taken when it has gone again.
    comes(&mut relay, 3, "d");
    comes(&mut relay, 4, "e");
    let less = PrimaryInput::Report(PeerId(3), Report::Holds(MemberNumber(4), "e".into(), OpId::new(9)));
    relay.step(less.clone());
    assert_eq!(relay.held_here().get(&MemberNumber(4)), Some(&OpId::new(10)));
    relay.step(PrimaryInput::Gone(PeerId(4)));
    relay.step(less);
    assert_eq!(relay.held_here().get(&MemberNumber(4)), Some(&OpId::new(9)));
}

#[test]
fn a_relay_does_not_let_on_the_primary_that_it_follows() {
    let listed = MEMBERS.map(String::from);
    let of_c = term(1, 2, true);
    let there = [(of_c, 10)];
    let hello = || hello("c", &listed, of_c, history(&there));
    let follow = Some(Course::Continue(OpId::new(11)));
    assert_eq!(course(&mut relay(&listed, &there, Some(of_c)), hello()), None);
    assert_eq!(course(&mut relay(&listed, &there, None), hello()), follow);
    // It is primary no longer.
    let next = Some(term(2, 0, true));
    assert_eq!(course(&mut relay(&listed, &there, next), hello()), follow);
}

#[test]
fn two_with_one_number_are_told_apart_wherever_they_are_in_a_chain() {
    // Neither is on a list, and both names come to one number.
    let number = number_of("c", &[]);
    assert_eq!(number, number_of("z", &[]));
    let begun = term(1, 1, false);
    let there = [(begun, 10)];
    let comes = |at: &mut Primary, peer, name| {
        let hello = hello(name, &[], begun, history(&there));
        at.step(PrimaryInput::Hello(PeerId(peer), hello))
    };
    let holds = |name: &str, op_id| Report::Holds(number, name.into(), OpId::new(op_id));
    let says = |at: &mut Primary, peer, report| at.step(PrimaryInput::Report(PeerId(peer), report));
    let taken = |peer| PrimaryOutput::Taken(PeerId(peer), number, "c".into());
    let refused = |peer| PrimaryOutput::Refuse(PeerId(peer), Refusal::NumberTaken("c".into()));

    // One is here, the other behind a relay.
    let mut at = relay(&[], &there, Some(begun));
    comes(&mut at, 1, "c");
    comes(&mut at, 2, "d");
    assert_eq!(says(&mut at, 2, holds("z", 7)), [taken(2)]);
    assert_eq!(at.held().get(&number), Some(&OpId::new(10)));

    // Both are behind relays: who was heard of first stays.
    let mut at = relay(&[], &there, Some(begun));
    comes(&mut at, 1, "d");
    comes(&mut at, 2, "e");
    says(&mut at, 1, holds("c", 5));
    assert_eq!(says(&mut at, 2, holds("z", 7)), [taken(2)]);
    assert_eq!(at.held().get(&number), Some(&OpId::new(5)));
    assert_eq!(at.name_of(number), Some("c"));
    // Nor is the other one let on when it comes by itself.
    assert_eq!(comes(&mut at, 3, "z"), [refused(3)]);

    // The other is behind a relay of the one.
    let own = Member::new(number.0).unwrap();
    let mut at = Primary::relay(own, Vec::new(), history(&there), OpId::new(10)).with_name("c");
    at.step(PrimaryInput::Follows(begun));
    comes(&mut at, 1, "d");
    assert_eq!(says(&mut at, 1, holds("z", 7)), [taken(1)]);
    assert_eq!(
        says(&mut at, 1, holds("c", 7)),
        [],
        "its own, said by whoever follows itself"
    );
    assert!(!at.held().contains_key(&number));

    // A relay that is told so turns the other away, or passes it on to the relay which that is behind.
    let told = || PrimaryInput::Taken(number, "c".into());
    let mut at = relay(&[], &there, Some(begun));
    comes(&mut at, 1, "z");
    assert_eq!(at.step(told()), [refused(1)]);
    assert!(at.held().is_empty() && !at.is_connected(number));
    assert_eq!(at.step(told()), []);
    assert_eq!(comes(&mut at, 2, "z"), [refused(2)]);
    let mut at = relay(&[], &there, Some(begun));
    comes(&mut at, 1, "d");
    says(&mut at, 1, holds("z", 7));
    assert_eq!(at.step(told()), [taken(1)]);
    assert!(!at.held().contains_key(&number));
    // The right one is not turned away.
    let mut at = relay(&[], &there, Some(begun));
    comes(&mut at, 1, "c");
    assert_eq!(at.step(told()), []);
    assert!(at.is_connected(number));
}
