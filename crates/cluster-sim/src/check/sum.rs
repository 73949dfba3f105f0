//! A checksum of any value that has a serial form, without making that form: histories compare the
//! whole replicated state very often.

use std::fmt;

use serde::Serialize;
use serde::ser::{self, Serializer};

/// A checksum of `value`: the same for the same value, and for another one almost never.
#[must_use]
pub fn checksum(value: &impl Serialize) -> u64 {
    let mut sum = Sum(0x6a09_e667_f3bc_c908);
    // Nothing in the state has a serial form that could fail.
    let made = value.serialize(&mut sum);
    debug_assert!(made.is_ok());
    sum.0
}

struct Sum(u64);

/// Never made; the trait wants one.
#[derive(Debug)]
struct Never;

impl fmt::Display for Never {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this value has no serial form")
    }
}

impl std::error::Error for Never {}

impl ser::Error for Never {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// What stands for the absence of something.
const NONE: u64 = 0x5851_f42d_4c95_7f2d;

impl Sum {
    /// Each step is a bijection, so that a difference stays one until another one meets it.
    fn word(&mut self, word: u64) {
        let sum = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = sum ^ (sum >> 32);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(last));
        }
    }
}

type Done = Result<(), Never>;

macro_rules! words {
    ($($method:ident $type:ty: $word:expr;)*) => {
        $(fn $method(self, value: $type) -> Done {
            let word: fn($type) -> u64 = $word;
            self.word(word(value));
            Ok(())
        })*
    };
}

impl Serializer for &mut Sum {
    type Ok = ();
    type Error = Never;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    words! {
        serialize_bool bool: u64::from;
        serialize_i8 i8: |value| i64::from(value).cast_unsigned();
        serialize_i16 i16: |value| i64::from(value).cast_unsigned();
        serialize_i32 i32: |value| i64::from(value).cast_unsigned();
        serialize_i64 i64: i64::cast_unsigned;
        serialize_u8 u8: u64::from;
        serialize_u16 u16: u64::from;
        serialize_u32 u32: u64::from;
        serialize_u64 u64: |value| value;
        serialize_f32 f32: |value| u64::from(value.to_bits());
        serialize_f64 f64: f64::to_bits;
        serialize_char char: |value| u64::from(u32::from(value));
    }

    fn serialize_str(self, text: &str) -> Done {
        self.bytes(text.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Done {
        self.bytes(bytes);
        Ok(())
    }

    fn serialize_none(self) -> Done {
        self.word(NONE);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        self.word(1);
        value.serialize(self)
    }

    fn serialize_unit(self) -> Done {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Done {
        self.serialize_none()
    }

    fn serialize_unit_variant(self, _: &'static str, variant: u32, _: &'static str) -> Done {
        self.serialize_u32(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Done {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
        value: &T,
    ) -> Done {
        self.word(u64::from(variant));
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Self, Never> {
        self.word(length.map_or(NONE, |length| length as u64));
        Ok(self)
    }

    fn serialize_tuple(self, length: usize) -> Result<Self, Never> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Self, Never> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
        length: usize,
    ) -> Result<Self, Never> {
        self.word(u64::from(variant));
        self.serialize_seq(Some(length))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Self, Never> {
        self.serialize_seq(length)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Never> {
        Ok(self)
    }

    fn serialize_struct_variant(self, _: &'static str, variant: u32, _: &'static str, _: usize) -> Result<Self, Never> {
        self.word(u64::from(variant));
        Ok(self)
    }
}

/// Values that follow each other, their number before them or marked at their end.
macro_rules! values {
    ($($trait:ident $method:ident;)*) => {
        $(impl ser::$trait for &mut Sum {
            type Ok = ();
            type Error = Never;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
                value.serialize(&mut **self)
            }

            fn end(self) -> Done {
                self.serialize_none()
            }
        })*
    };
}

values! {
    SerializeSeq serialize_element;
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

impl ser::SerializeMap for &mut Sum {
    type Ok = ();
    type Error = Never;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Done {
        key.serialize(&mut **self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        value.serialize(&mut **self)
    }

    fn end(self) -> Done {
        self.serialize_none()
    }
}

/// Fields come in the order of their type, those left out included.
macro_rules! fields {
    ($($trait:ident)*) => {
        $(impl ser::$trait for &mut Sum {
            type Ok = ();
            type Error = Never;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Done {
                value.serialize(&mut **self)
            }

            fn skip_field(&mut self, _: &'static str) -> Done {
                self.serialize_none()
            }

            fn end(self) -> Done {
                Ok(())
            }
        })*
    };
}

fields! { SerializeStruct SerializeStructVariant }

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::checksum;

    #[derive(serde::Serialize)]
    struct Sample {
        #[serde(skip_serializing_if = "Option::is_none")]
        one: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        other: Option<u64>,
        names: Vec<String>,
    }

    fn sample(one: Option<u64>, other: Option<u64>, names: &[&str]) -> u64 {
        checksum(&Sample { one, other, names: names.iter().map(|name| (*name).to_owned()).collect() })
    }

    #[test]
    fn what_differs_anywhere_has_another_checksum() {
        let sums = [
            sample(None, None, &[]),
            sample(Some(1), None, &[]),
            sample(None, Some(1), &[]),
            sample(Some(1), Some(1), &[]),
            sample(None, None, &[""]),
            sample(None, None, &["ab"]),
            sample(None, None, &["a", "b"]),
            sample(None, None, &["ab\0"]),
            sample(None, None, &["a longer text than one word"]),
            sample(None, None, &["a longer text than two words"]),
            checksum(&BTreeMap::from([(1, 2)])),
            checksum(&BTreeMap::from([(2, 1)])),
            checksum(&[1, 2]),
            checksum(&[2, 1]),
            checksum(&(-1_i64, true)),
            checksum(&(1_i64, true)),
        ];
        let mut different = sums.to_vec();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), sums.len());
        assert_eq!(sample(Some(3), None, &["x"]), sample(Some(3), None, &["x"]));
    }
}
