//! Who may have a member's log replaced by a copy: a listed member's is counted on by others.

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
