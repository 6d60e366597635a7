#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| testgate_fuzz::run(testgate_fuzz::Target::from_name("doors"), input));
