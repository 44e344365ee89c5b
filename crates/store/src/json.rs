//! JSON columns. Exact values are stored as text, because JSON numbers would lose digits.

use jiff::Timestamp;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::StoreErrorCause;
use spendwatch_domain::alerts::alert::EndedBy;
use spendwatch_domain::alerts::notification::Reason;
use spendwatch_domain::org::events::Event;
use spendwatch_domain::rules::rule::Severity;
use spendwatch_domain::rules::watch::{Quantity, Watch};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::subject::SubjectKind;

pub(super) fn to_json(shape: &impl Serialize) -> String {
    serde_json::to_string(shape).expect("shapes have text keys only")
}

/// Parses JSON; `what` names the value in errors.
pub(super) fn from_json<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, StoreErrorCause> {
    serde_json::from_str(text).map_err(|error| StoreErrorCause::Corrupt(format!("{what}: {error}")))
}

/// A value stored as a JSON string.
pub(super) trait StoredText: Sized {
    fn to_text(&self) -> String;
    fn from_text(text: &str) -> Option<Self>;
}

impl StoredText for Quantity {
    fn to_text(&self) -> String {
        self.to_string()
    }
    fn from_text(text: &str) -> Option<Quantity> {
        text.parse().ok()
    }
}

impl StoredText for Timestamp {
    fn to_text(&self) -> String {
        self.to_string()
    }
    fn from_text(text: &str) -> Option<Timestamp> {
        text.parse().ok()
    }
}

impl StoredText for Usd {
    fn to_text(&self) -> String {
        self.pico().to_string()
    }
    fn from_text(text: &str) -> Option<Usd> {
        text.parse().ok().map(Usd::from_pico)
    }
}

macro_rules! words {
    ($($kind:ty)+) => {$(
        impl StoredText for $kind {
            fn to_text(&self) -> String {
                self.as_str().to_owned()
            }
            fn from_text(text: &str) -> Option<$kind> {
                <$kind>::parse(text)
            }
        }
    )+};
}

words! { Severity SubjectKind EndedBy Reason Event }

impl StoredText for Watch {
    fn to_text(&self) -> String {
        self.info().stored.to_owned()
    }
    fn from_text(text: &str) -> Option<Watch> {
        Watch::from_stored(text)
    }
}

/// Serializes such a value as a string.
#[derive(Debug)]
pub(super) struct AsText<T>(pub(super) T);

impl<T: StoredText> Serialize for AsText<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_text())
    }
}

impl<'de, T: StoredText> Deserialize<'de> for AsText<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AsText<T>, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::from_text(&text)
            .map(AsText)
            .ok_or_else(|| D::Error::custom(format!("unknown value `{text}`")))
    }
}
