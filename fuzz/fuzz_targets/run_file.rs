#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ldalign_tests::hostile::read("run_file", data);
});
