//! Strings and regular expressions.

use crate::check;

#[test]
fn strings() {
    check(&[
        (
            r#"{"$concat": ["$item", " - ", "$d"]}"#,
            r#"{"item": "ABC1", "d": "product 1"}"#,
            r#""ABC1 - product 1""#,
        ),
        (r#"{"$concat": ["a", "$none"]}"#, "{}", "null"),
        (r#"{"$concat": ["a", 1]}"#, "{}", "error 16702"),
        (r#"{"$substrBytes": ["abcde", 1, 2]}"#, "{}", r#""bc""#),
        (r#"{"$substrBytes": ["éclair", 0, 3]}"#, "{}", r#""éc""#),
        (r#"{"$substrBytes": ["éclair", 1, 3]}"#, "{}", "error 28656"),
        (r#"{"$substrBytes": ["abc", 1, -1]}"#, "{}", r#""bc""#),
        (r#"{"$substr": [2024, 0, 2]}"#, "{}", r#""20""#),
        (r#"{"$substrCP": ["cafétéria", 3, 4]}"#, "{}", r#""étér""#),
        (r#"{"$substrCP": ["abc", -1, 4]}"#, "{}", "error 34455"),
        (r#"{"$strLenBytes": "cafétéria"}"#, "{}", "11"),
        (r#"{"$strLenCP": "寿司sushi"}"#, "{}", "7"),
        (r#"{"$strLenCP": "$none"}"#, "{}", "error 34471"),
        (r#"{"$indexOfBytes": ["cafeteria", "e"]}"#, "{}", "3"),
        (r#"{"$indexOfBytes": ["cafétéria", "é"]}"#, "{}", "3"),
        (r#"{"$indexOfBytes": ["foo.bar.fi", ".", 5]}"#, "{}", "7"),
        (r#"{"$indexOfBytes": ["vanilla", "ll", 0, 2]}"#, "{}", "-1"),
        (r#"{"$indexOfBytes": ["$none", "x"]}"#, "{}", "null"),
        (r#"{"$indexOfCP": ["cafétéria", "t"]}"#, "{}", "4"),
        (r#"{"$indexOfCP": ["cafétéria", "é", 4]}"#, "{}", "5"),
        (r#"{"$indexOfCP": ["abc", "c", -1]}"#, "{}", "error 40097"),
        (
            r#"{"$split": ["June-15-2013", "-"]}"#,
            "{}",
            r#"["June", "15", "2013"]"#,
        ),
        (
            r#"{"$split": ["banana split", "a"]}"#,
            "{}",
            r#"["b", "n", "n", " split"]"#,
        ),
        (r#"{"$split": ["a", ""]}"#, "{}", "error 40087"),
        (r#"{"$toLower": "ABC É"}"#, "{}", r#""abc É""#),
        (r#"{"$toUpper": 12}"#, "{}", r#""12""#),
        (r#"{"$toUpper": null}"#, "{}", r#""""#),
        (r#"{"$toUpper": [[1]]}"#, "{}", "error 16007"),
        (r#"{"$strcasecmp": ["ab", "AC"]}"#, "{}", "-1"),
        (r#"{"$trim": {"input": "  \n good  bye \t  "}}"#, "{}", r#""good  bye""#),
        (
            r#"{"$trim": {"input": " ggggoodbyeeeee", "chars": "ge "}}"#,
            "{}",
            r#""oodby""#,
        ),
        (r#"{"$ltrim": {"input": "  a "}}"#, "{}", r#""a ""#),
        (r#"{"$rtrim": {"input": "  a "}}"#, "{}", r#""  a""#),
        (r#"{"$trim": {}}"#, "{}", "error 50695"),
        (
            r#"{"$replaceOne": {"input": "blue paint", "find": "blue", "replacement": "red"}}"#,
            "{}",
            r#""red paint""#,
        ),
        (
            r#"{"$replaceAll": {"input": "a-a", "find": "a", "replacement": "b"}}"#,
            "{}",
            r#""b-b""#,
        ),
        (
            r#"{"$replaceAll": {"input": null, "find": "a", "replacement": "b"}}"#,
            "{}",
            "null",
        ),
        (
            r#"{"$replaceAll": {"input": 1, "find": "a", "replacement": "b"}}"#,
            "{}",
            "error 51746",
        ),
    ]);
}

#[test]
fn regular_expressions() {
    check(&[
        (
            r#"{"$regexMatch": {"input": "$d", "regex": "line"}}"#,
            r#"{"d": "Single LINE"}"#,
            "false",
        ),
        (
            r#"{"$regexMatch": {"input": "$d", "regex": "line", "options": "i"}}"#,
            r#"{"d": "Single LINE"}"#,
            "true",
        ),
        (
            r#"{"$regexMatch": {"input": "a\nb", "regex": {"$regularExpression": {"pattern": "^b", "options": "m"}}}}"#,
            "{}",
            "true",
        ),
        (r#"{"$regexMatch": {"input": "$none", "regex": "a"}}"#, "{}", "false"),
        (
            r#"{"$regexFind": {"input": "Café au lait", "regex": "(a)(u)?"}}"#,
            "{}",
            r#"{"match": "a", "idx": 1, "captures": ["a", null]}"#,
        ),
        (
            r#"{"$regexFind": {"input": "é-x", "regex": "x"}}"#,
            "{}",
            r#"{"match": "x", "idx": 2, "captures": []}"#,
        ),
        (r#"{"$regexFind": {"input": "abc", "regex": "x"}}"#, "{}", "null"),
        (
            r#"{"$regexFindAll": {"input": "ab1 b2", "regex": "b(?=[0-9])"}}"#,
            "{}",
            r#"[{"match": "b", "idx": 1, "captures": []}, {"match": "b", "idx": 4, "captures": []}]"#,
        ),
        (r#"{"$regexFindAll": {"input": null, "regex": "x"}}"#, "{}", "[]"),
        (r#"{"$regexMatch": {"input": 1, "regex": "x"}}"#, "{}", "error 51104"),
        (r#"{"$regexMatch": {"input": "a", "regex": "("}}"#, "{}", "error 51111"),
        (
            r#"{"$regexMatch": {"input": "a", "regex": "a", "options": "q"}}"#,
            "{}",
            "error 51108",
        ),
        (
            r#"{"$regexMatch": {"input": "a", "regex": "$p"}}"#,
            r#"{"p": "^a$"}"#,
            "true",
        ),
        (
            r#"{"$regexMatch": {"input": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "regex": "^(a|aa)+(?!b)$"}}"#,
            "{}",
            "error 51156",
        ),
    ]);
}
