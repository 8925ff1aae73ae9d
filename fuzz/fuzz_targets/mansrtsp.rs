#![no_main]

#[path = "../functions.rs"]
#[allow(dead_code, unused_imports)]
mod functions;

libfuzzer_sys::fuzz_target!(|data: &[u8]| functions::mansrtsp(data));
