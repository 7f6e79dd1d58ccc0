//! The normal form of a number is parsed to itself, also at the start of running text.

#![no_main]

use icpgate::gate::{FilingNumber, PublicSecurityNumber};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(number) = FilingNumber::parse(text, 2026) {
        assert_eq!(FilingNumber::parse(number.as_str(), 2026), Ok(number.clone()));
        assert_eq!(FilingNumber::at_start_of(number.as_str()), Some(number));
    }
    if let Some(number) = FilingNumber::at_start_of(text) {
        assert_eq!(FilingNumber::parse(number.as_str(), i16::MAX), Ok(number));
    }
    if let Ok(number) = PublicSecurityNumber::parse(text) {
        assert_eq!(PublicSecurityNumber::parse(number.as_str()), Ok(number));
    }
});
