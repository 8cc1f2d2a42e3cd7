//! Resume tokens: any text, and any bytes with the right checksum.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailwater_changestream::ResumeToken;

fn round_trip(text: &str) {
    if let Ok(token) = text.parse::<ResumeToken>() {
        assert_eq!(token.to_string(), text.to_ascii_lowercase());
        assert_eq!(ResumeToken::from_document(&token.to_document()).unwrap(), token);
    }
}

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        round_trip(text);
    }
    let mut bytes = data.to_vec();
    bytes.extend_from_slice(&crc32fast::hash(data).to_be_bytes());
    round_trip(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    if let Ok(document) = bson::RawDocument::from_bytes(data) {
        let _ = ResumeToken::from_document(document);
    }
});
