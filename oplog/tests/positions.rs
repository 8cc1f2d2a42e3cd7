//! Positions that are kept elsewhere, and checked against the log they come back to.

use tailwater_oplog::{Durability, Error, OpId, Options, Term, Timestamp};

#[test]
fn a_position_is_good_only_with_its_entrys_term_and_timestamp() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        segment_bytes: 1 << 20,
        ..Options::default()
    };
    let log = options.open(dir.path()).unwrap();
    let written = log.append(1, b"one", Durability::Disk).unwrap();
    let (term, timestamp) = (log.term(), written.timestamp);
    let view = log.view();
    view.check_position(OpId::FIRST, term, timestamp).unwrap();

    let later = Timestamp::from_nanos(timestamp.as_nanos() + 1);
    let check = |wrong: (Term, Timestamp), words: &[&str]| {
        let error = view.check_position(OpId::FIRST, wrong.0, wrong.1).unwrap_err();
        let Error::Diverged {
            op_id,
            requested,
            found,
        } = &error
        else {
            panic!("{error:?}");
        };
        assert_eq!((*op_id, *requested, *found), (OpId::FIRST, wrong, (term, timestamp)));
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    };
    check(
        (Term::new(9), timestamp),
        &["entry 1 ", "term 1 here", "of term 9", "start anew"],
    );
    check((Term::new(9), later), &["of term 9"]);
    check(
        (term, later),
        &["same term 1", &later.as_nanos().to_string(), "two copies", "start anew"],
    );

    let ahead = view.check_position(OpId::new(2), term, timestamp).unwrap_err();
    assert!(matches!(ahead, Error::Ahead { .. }), "{ahead:?}");
}
