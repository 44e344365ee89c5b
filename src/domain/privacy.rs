//! Privacy: by what people are named, where anything is told of them.

/// By what people are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum People {
    Email,
    /// By their id at the service.
    Id,
    /// Not at all: all that people use is told as one.
    Hidden,
}

impl People {
    /// All, from the most telling on.
    pub const ALL: [People; 3] = [People::Email, People::Id, People::Hidden];

    /// The word in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            People::Email => "email",
            People::Id => "id",
            People::Hidden => "hidden",
        }
    }
}

/// What the configuration says about people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Privacy {
    /// By what they are named everywhere; `None` is as fits the place.
    pub people: Option<People>,
}

impl Privacy {
    /// In labels of series, which everyone who sees the metrics keeps: by id, unless said otherwise.
    pub fn in_metrics(self) -> People {
        self.people.unwrap_or(People::Id)
    }

    /// In messages and in what commands print: by email address, unless said otherwise.
    pub fn in_messages(self) -> People {
        self.people.unwrap_or(People::Email)
    }
}
