//! A domain file: any bytes are a domain or an error, and what is written for xl reads back as
//! the same domain.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xen_domctl::domain::Domain;
use xen_domctl::file::parse;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = parse(bytes) else { return };
    let Ok(domain) = Domain::resolve(&file, |_| true) else { return };
    let again = parse(domain.to_xl().as_bytes()).expect("xl's own configuration is read");
    let again = Domain::resolve(&again, |_| true).expect("and resolves");
    assert_eq!((again.to_xl(), again.disks), (domain.to_xl(), domain.disks));
});
