#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| rept_fuzz::jitdump::run(data));
