//! TLS hellos. Only calls what the property tests call as well.

#![no_main]

libfuzzer_sys::fuzz_target!(init: poolwatch_fuzz::write_seeds("tls"), |bytes: &[u8]| {
    poolwatch_fuzz::entries::tls(bytes);
});
