//! Privacy: how users are identified wherever they are shown.

/// How users are identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UserNaming {
    Email,
    /// Their id in the Admin API.
    Id,
    /// Not at all: all users are summed as one.
    Hidden,
}

impl UserNaming {
    /// All, from the most to the least revealing.
    pub const ALL: [UserNaming; 3] = [UserNaming::Email, UserNaming::Id, UserNaming::Hidden];

    /// Returns the word used in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            UserNaming::Email => "email",
            UserNaming::Id => "id",
            UserNaming::Hidden => "hidden",
        }
    }
}

/// The configured privacy settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Privacy {
    /// How users are identified everywhere; `None` uses the defaults below.
    pub naming: Option<UserNaming>,
}

impl Privacy {
    /// Returns how users are identified in metric labels; by default by id, because metrics are stored elsewhere.
    pub fn in_metrics(self) -> UserNaming {
        self.naming.unwrap_or(UserNaming::Id)
    }

    /// Returns how users are identified in messages and command output; by default by email address.
    pub fn in_messages(self) -> UserNaming {
        self.naming.unwrap_or(UserNaming::Email)
    }
}
