//! Stored forms of values in JSON columns, each written once: a shape that serde derives for a type of the domain (`remote`),
//! whose fields use [`Stored`] in turn.
//!
//! Every later version must read what is stored: a new field needs a default. `old_rows` checks that stored names do not change.

mod alert;
mod digest;
mod fact;

#[cfg(test)]
mod old_rows;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::StoreErrorCause;
use spendwatch_domain::alerts::alert::{Alert, EndedBy};
use spendwatch_domain::alerts::notification::{Fact, Reason};
use spendwatch_domain::digest::Digest;
use spendwatch_domain::org::events::Event;
use spendwatch_domain::rules::rule::Severity;
use spendwatch_domain::rules::watch::{Quantity, Watch};
use spendwatch_domain::units::ids::{
    ApiKeyId, ModelName, NotifierName, OrganizationName, RuleName, WorkspaceId,
};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::subject::SubjectKind;

/// A type with a stored form; `#[serde(with = "Stored")]` applies it to a field. A field that is an `Option` needs `default`
/// too, so that it may be missing.
pub(crate) trait Stored: Sized {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

/// Lets serde read and write a value in its stored form.
pub(crate) struct AsStored<T>(pub(crate) T);

impl<T: Stored> Serialize for AsStored<&T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Stored::serialize(self.0, serializer)
    }
}

impl<'de, T: Stored> Deserialize<'de> for AsStored<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AsStored<T>, D::Error> {
        <T as Stored>::deserialize(deserializer).map(AsStored)
    }
}

pub(crate) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("stored values have text keys only")
}

/// Parses JSON; `what` names the value in errors.
pub(crate) fn from_json<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, StoreErrorCause> {
    serde_json::from_str(text).map_err(|error| StoreErrorCause::Corrupt(format!("{what}: {error}")))
}

pub(crate) fn alert_from_json(text: &str) -> Result<Alert, StoreErrorCause> {
    from_json::<AsStored<Alert>>(text, "an alert").map(|alert| alert.0)
}

pub(crate) fn facts_from_json(text: &str) -> Result<Vec<Fact>, StoreErrorCause> {
    from_json::<AsStored<Vec<Fact>>>(text, "the facts of a message").map(|facts| facts.0)
}

pub(crate) fn digest_from_json(text: &str) -> Result<Digest, StoreErrorCause> {
    from_json::<AsStored<Digest>>(text, "a digest").map(|digest| digest.0)
}

/// Gives types the stored form of a shape.
macro_rules! stored_by {
    ($($kind:ty: $shape:ty;)+) => {$(
        impl crate::stored::Stored for $kind {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                <$shape>::serialize(self, serializer)
            }
            fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<$kind, D::Error> {
                <$shape>::deserialize(deserializer)
            }
        }
    )+};
}
pub(crate) use stored_by;

/// A value stored as a JSON string. Exact numbers are, because JSON numbers would lose digits.
pub(crate) trait StoredText: Sized {
    fn to_text(&self) -> String;
    fn from_text(text: &str) -> Option<Self>;
}

macro_rules! stored_text {
    ($(|$text:ident| $read:expr => $($kind:ty),+;)+) => {$($(
        impl StoredText for $kind {
            fn to_text(&self) -> String {
                self.to_string()
            }
            fn from_text($text: &str) -> Option<$kind> {
                $read
            }
        }
    )+)+};
}

stored_text! {
    |text| Self::parse(text) => Severity, SubjectKind, EndedBy, Reason, Event;
    |text| text.parse().ok() => Quantity, Timestamp;
    |text| Some(text.into()) => String, Arc<str>, ApiKeyId, ModelName, NotifierName, OrganizationName, RuleName, WorkspaceId;
}

impl StoredText for Usd {
    fn to_text(&self) -> String {
        self.pico().to_string()
    }
    fn from_text(text: &str) -> Option<Usd> {
        text.parse().ok().map(Usd::from_pico)
    }
}

impl StoredText for Watch {
    fn to_text(&self) -> String {
        self.info().stored.to_owned()
    }
    fn from_text(text: &str) -> Option<Watch> {
        Watch::from_stored(text)
    }
}

impl<T: StoredText> Stored for T {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_text())
    }
    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let text = <String as Deserialize>::deserialize(deserializer)?;
        T::from_text(&text).ok_or_else(|| D::Error::custom(format!("unknown value `{text}`")))
    }
}

impl<T: Stored> Stored for Option<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Serialize::serialize(&self.as_ref().map(AsStored), serializer)
    }
    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
        let value: Option<AsStored<T>> = Deserialize::deserialize(deserializer)?;
        Ok(value.map(|value| value.0))
    }
}

impl<T: Stored> Stored for Vec<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(AsStored))
    }
    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
        let values: Vec<AsStored<T>> = Deserialize::deserialize(deserializer)?;
        Ok(values.into_iter().map(|value| value.0).collect())
    }
}

impl<T: Stored, U: Stored> Stored for (T, U) {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Serialize::serialize(&(AsStored(&self.0), AsStored(&self.1)), serializer)
    }
    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(T, U), D::Error> {
        let (one, other): (AsStored<T>, AsStored<U>) = Deserialize::deserialize(deserializer)?;
        Ok((one.0, other.0))
    }
}

impl<T: Stored> Stored for BTreeMap<NotifierName, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            self.iter()
                .map(|(name, value)| (name.as_str(), AsStored(value))),
        )
    }
    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values: BTreeMap<String, AsStored<T>> = Deserialize::deserialize(deserializer)?;
        let named = values.into_iter();
        Ok(named
            .map(|(name, value)| (NotifierName::new(name), value.0))
            .collect())
    }
}
