//! One check of `doctor`: its result and how to fix it.

/// Result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Good,
    Warning,
    Bad,
}

impl Health {
    pub const fn as_str(self) -> &'static str {
        match self {
            Health::Good => "ok",
            Health::Warning => "warning",
            Health::Bad => "bad",
        }
    }
}

/// What is checked.
#[derive(Debug, Clone, Copy)]
pub struct Checked<'a> {
    pub what: &'static str,
    /// Empty if there is only one.
    pub subject: &'a str,
}

/// One finished check.
pub struct Diagnosis {
    pub what: &'static str,
    pub subject: String,
    pub health: Health,
    pub result: String,
    /// Empty if there is nothing to fix.
    pub fix: String,
}

impl Checked<'_> {
    pub fn good(self, result: impl Into<String>) -> Diagnosis {
        self.with(Health::Good, result, "")
    }

    pub fn warning(self, result: impl Into<String>, fix: &str) -> Diagnosis {
        self.with(Health::Warning, result, fix)
    }

    pub fn bad(self, result: impl Into<String>, fix: &str) -> Diagnosis {
        self.with(Health::Bad, result, fix)
    }

    fn with(self, health: Health, result: impl Into<String>, fix: &str) -> Diagnosis {
        Diagnosis {
            what: self.what,
            subject: self.subject.to_owned(),
            health,
            result: result.into(),
            fix: fix.to_owned(),
        }
    }
}

/// Begins a check.
pub fn check<'a>(what: &'static str, subject: &'a str) -> Checked<'a> {
    Checked { what, subject }
}
