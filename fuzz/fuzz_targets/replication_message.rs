//! Messages between members: what is read is written again as it was, and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailwater_replication::fuzzing;

fuzz_target!(|data: &[u8]| {
    if let Some(preface) = data.first_chunk() {
        let _ = fuzzing::preface(preface);
    }
    fuzzing::messages(data);
    // Behind a head that is right, for otherwise nothing comes through the checksum.
    if let Some((&kind, body)) = data.split_first()
        && let Some(message) = fuzzing::message(kind % 24, body)
    {
        fuzzing::messages(&message);
    }
});
