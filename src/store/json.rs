//! JSON columns: exact values stand in them as text, because a JSON number would lose digits.

use jiff::Timestamp;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::alert::EndedBy;
use crate::domain::event::Event;
use crate::domain::money::Usd;
use crate::domain::notification::Reason;
use crate::domain::rule::{Quantity, Severity, Watch};
use crate::domain::subject::SubjectKind;
use crate::store::error::Cause;

/// A value as text.
pub(super) fn to_json(shape: &impl Serialize) -> String {
    serde_json::to_string(shape).expect("shapes have text keys only")
}

/// A text as a value; what does not fit is named with `what`.
pub(super) fn from_json<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, Cause> {
    serde_json::from_str(text).map_err(|error| Cause::Corrupt(format!("{what}: {error}")))
}

/// A value that stands as text: written by `Display` or `as_str`, read by its parser.
pub(super) trait Text: Sized {
    fn write(&self) -> String;
    fn read(text: &str) -> Option<Self>;
}

impl Text for Quantity {
    fn write(&self) -> String {
        self.to_string()
    }
    fn read(text: &str) -> Option<Quantity> {
        text.parse().ok()
    }
}

impl Text for Timestamp {
    fn write(&self) -> String {
        self.to_string()
    }
    fn read(text: &str) -> Option<Timestamp> {
        text.parse().ok()
    }
}

impl Text for Usd {
    fn write(&self) -> String {
        self.pico().to_string()
    }
    fn read(text: &str) -> Option<Usd> {
        text.parse().ok().map(Usd::from_pico)
    }
}

macro_rules! words {
    ($($kind:ty)+) => {$(
        impl Text for $kind {
            fn write(&self) -> String {
                self.as_str().to_owned()
            }
            fn read(text: &str) -> Option<$kind> {
                <$kind>::parse(text)
            }
        }
    )+};
}

words! { Severity SubjectKind EndedBy Reason Event }

impl Text for Watch {
    fn write(&self) -> String {
        self.stored().to_owned()
    }
    fn read(text: &str) -> Option<Watch> {
        Watch::from_stored(text)
    }
}

/// Any such value, in a shape.
#[derive(Debug)]
pub(super) struct AsText<T>(pub(super) T);

impl<T: Text> Serialize for AsText<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.write())
    }
}

impl<'de, T: Text> Deserialize<'de> for AsText<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AsText<T>, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::read(&text)
            .map(AsText)
            .ok_or_else(|| D::Error::custom(format!("unknown value `{text}`")))
    }
}
