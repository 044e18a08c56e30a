//! The addresses inside one record: of A and AAAA, and the hints of HTTPS and SVCB, to which a
//! client may connect without asking for more (RFC 9460 7.3).

use std::net::IpAddr;

use domain::base::iana::SvcParamKey;
use domain::base::{ParsedName, ParsedRecord, Rtype, UnknownRecordData};
use domain::rdata::svcb::{Https, Svcb};

type Name<'a> = ParsedName<&'a [u8]>;

/// Addresses in wire form, one behind the other.
#[derive(Default)]
pub(super) struct Addresses<'a> {
    v4: &'a [u8],
    v6: &'a [u8],
}

impl<'a> Addresses<'a> {
    /// None where the record is of another type, or not as its type has to be.
    pub(super) fn of(record: ParsedRecord<'a, [u8]>) -> Self {
        Self::read(record).unwrap_or_default()
    }

    fn read(record: ParsedRecord<'a, [u8]>) -> Option<Self> {
        match record.rtype() {
            Rtype::A => Some(Self { v4: data(record, 4)?, v6: &[] }),
            Rtype::AAAA => Some(Self { v4: &[], v6: data(record, 16)? }),
            Rtype::HTTPS => {
                let https = record.into_record::<Https<&[u8], Name<'_>>>().ok()??;
                https.data().is_service().then(|| Self::hints(https.data().params().as_octets()))
            }
            Rtype::SVCB => {
                let svcb = record.into_record::<Svcb<&[u8], Name<'_>>>().ok()??;
                svcb.data().is_service().then(|| Self::hints(svcb.data().params().as_octets()))
            }
            _ => None,
        }
    }

    /// Of parameters that were checked: key, length, value (RFC 9460 2.2).
    fn hints(mut parameters: &'a [u8]) -> Self {
        let mut hints = Self::default();
        while let Some(([k0, k1, l0, l1], behind)) = parameters.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes([*l0, *l1]));
            let Some((value, rest)) = behind.split_at_checked(length) else { break };
            match SvcParamKey::from_int(u16::from_be_bytes([*k0, *k1])) {
                SvcParamKey::IPV4HINT => hints.v4 = value,
                SvcParamKey::IPV6HINT => hints.v6 = value,
                _ => {}
            }
            parameters = rest;
        }
        hints
    }
}

/// The record's data, if it is as long as it has to be.
fn data(record: ParsedRecord<'_, [u8]>, length: usize) -> Option<&[u8]> {
    let record = record.into_record::<UnknownRecordData<&[u8]>>().ok()??;
    let data = *record.data().data();
    (data.len() == length).then_some(data)
}

impl Iterator for Addresses<'_> {
    type Item = IpAddr;

    fn next(&mut self) -> Option<IpAddr> {
        if let Some((v4, rest)) = self.v4.split_first_chunk::<4>() {
            self.v4 = rest;
            return Some((*v4).into());
        }
        let (v6, rest) = self.v6.split_first_chunk::<16>()?;
        self.v6 = rest;
        Some((*v6).into())
    }
}
