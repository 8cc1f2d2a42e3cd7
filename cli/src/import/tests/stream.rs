//! How documents follow one another, and what the caller learns with each.

use std::io::{self, Read};

use bson::{Bson, doc};

use super::{DocumentReader, Trickle, read, read_from};

#[track_caller]
fn check_layout(input: &str) {
    let wanted = [doc! { "a": 1 }, doc! { "b": "}]\"" }, doc! {}];
    assert_eq!(read(input), wanted, "{input:?}");
    let (slow, error) = read_from(Trickle(input.as_bytes()));
    assert!(error.is_none());
    assert_eq!(slow.len(), wanted.len(), "{input:?}, byte by byte");
}

#[test]
fn documents_in_every_layout() {
    check_layout("{\"a\":1}\n{\"b\":\"}]\\\"\"}\n{}\n");
    check_layout("{\"a\":1}\r\n{\"b\":\"}]\\\"\"}\r\n\r\n{}");
    check_layout("{\"a\":1}{\"b\":\"}]\\\"\"}{}");
    check_layout(" \t{\n \"a\" : 1\n}\n\n {\"b\" : \"}]\\\"\"\n} { }  ");
    check_layout("[{\"a\":1},{\"b\":\"}]\\\"\"},{}]");
    check_layout("\n[\n  {\"a\":1} ,\r\n  {\"b\":\"}]\\\"\"} , { }\n]\n");
    check_layout("\u{feff}{\"a\":1}\n{\"b\":\"}]\\\"\"}\n{}\n");
    check_layout("\u{feff}[{\"a\":1},{\"b\":\"}]\\\"\"},{}]");
}

#[test]
fn empty_inputs_hold_no_documents() {
    for input in ["", " ", "\n\r\n\t", "[]", "\u{feff}", " [ ]\n"] {
        assert_eq!(read(input), [], "{input:?}");
        let (documents, error) = read_from(Trickle(input.as_bytes()));
        assert!(documents.is_empty() && error.is_none(), "{input:?}");
    }
}

#[test]
fn each_document_knows_its_line_and_the_bytes_before_its_end() {
    let places = |input: &[u8]| -> Vec<(u64, u64)> {
        DocumentReader::new(input)
            .map(|item| item.expect("a document"))
            .map(|parsed| (parsed.line, parsed.bytes_read))
            .collect()
    };
    assert_eq!(
        places(b"{}\n\n{\n\"a\":1}\r\n{} {}"),
        [(1, 2), (3, 12), (5, 16), (5, 19)]
    );
    assert_eq!(places(b"[\n{},\n\n{}]\n"), [(2, 4), (4, 9)]);
    assert_eq!(places("\u{feff}{}\n{}".as_bytes()), [(1, 5), (2, 8)]);
}

#[test]
fn documents_larger_than_the_window() {
    let long = "x".repeat(3_000_000);
    let input = format!("{{\"s\":\"{long}\"}}\n{{\"s\":\"{long}\\n\"}}\n{{\"a\":1}}\n");
    let documents = read(&input);
    assert_eq!(documents.len(), 3);
    assert_eq!(documents[0], doc! { "s": long });
    assert_eq!(documents[2], doc! { "a": 1 });
}

#[test]
fn many_documents_cross_the_edges_of_the_window() {
    let line = |index: i32| format!("{{\"i\":{index},\"pad\":\"{}\"}}\n", "é".repeat(37));
    let input: String = (0..20_000).map(line).collect();
    let documents = read(&input);
    assert_eq!(documents.len(), 20_000);
    for (index, document) in (0..).zip(&documents) {
        assert_eq!(document.get("i"), Some(&Bson::Int32(index)));
    }
}

#[test]
fn a_failing_source_is_an_error_after_what_it_gave() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("unplugged"))
        }
    }
    let (documents, error) = read_from(b"{\"a\":1}\n{\"b\"".chain(Broken));
    assert_eq!(documents.len(), 1);
    let error = error.expect("an error");
    assert_eq!(error.to_string(), "line 2, column 5: cannot read the input");
    let source = std::error::Error::source(&error).expect("a source");
    assert_eq!(source.to_string(), "unplugged");
}

#[test]
fn an_interrupted_read_is_tried_again() {
    struct Interrupted<'a>(&'a [u8], bool);
    impl Read for Interrupted<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            Trickle(self.0).read(buffer).inspect(|&count| {
                self.0 = &self.0[count..];
            })
        }
    }
    let (documents, error) = read_from(Interrupted(b"[{}, {\"a\": 1}]", false));
    assert!(error.is_none());
    assert_eq!(documents.len(), 2);
}
