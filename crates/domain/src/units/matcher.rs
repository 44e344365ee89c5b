//! Globs over names and ids: which subjects a rule covers, and which workspaces a team has.

use std::sync::Arc;

use globset::GlobBuilder;
use regex::bytes;

/// Maximum length of a glob in bytes.
pub const MAX_GLOB: usize = 4096;
/// Maximum nesting of groups in a regular expression.
pub const MAX_NESTING: u32 = 64;
/// Maximum nesting of braces in a glob.
const MAX_BRACES: usize = 16;
/// Size limits for a compiled pattern in bytes, tried in this order; the first that suffices counts as the pattern's
/// size.
const SIZES: [usize; 3] = [16 * 1024, 64 * 1024, 256 * 1024];
/// Maximum size in bytes of the states that a pattern caches while matching.
pub const MAX_CACHE: usize = 256 * 1024;

/// A case-sensitive glob: `*` (which also matches slashes), `?`, `[…]`, `{a,b}`.
///
/// Compiled once; clones share the result.
#[derive(Debug, Clone)]
pub struct Glob(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    pattern: String,
    test: GlobTest,
    size: usize,
}

#[derive(Debug)]
enum GlobTest {
    /// The pattern has no wildcards.
    Literal,
    Any,
    Regex(bytes::Regex),
}

impl Glob {
    /// Compiles a pattern within the limits for length, nesting and compiled size. The error is a readable reason.
    pub fn new(pattern: &str) -> Result<Glob, String> {
        if pattern.len() > MAX_GLOB {
            return Err(format!(
                "it has {} bytes, at most {MAX_GLOB} are allowed",
                pattern.len()
            ));
        }
        let (test, size) = if pattern == "*" {
            (GlobTest::Any, 0)
        } else if !pattern.contains(['*', '?', '[', '{', '}', '\\']) {
            (GlobTest::Literal, 0)
        } else {
            // The library handles nested braces recursively.
            if nesting(pattern) > MAX_BRACES {
                return Err(format!("its braces are nested more than {MAX_BRACES} deep"));
            }
            let glob = GlobBuilder::new(pattern)
                .literal_separator(false)
                .backslash_escape(true)
                .build()
                .map_err(|error| error.kind().to_string())?;
            // `Glob::compile_matcher` panics where this returns an error.
            let (regex, size) = compile(|size| {
                bytes::RegexBuilder::new(glob.regex())
                    .dot_matches_new_line(true)
                    .size_limit(size)
                    .dfa_size_limit(MAX_CACHE)
                    .build()
            })?;
            (GlobTest::Regex(regex), size)
        };
        Ok(Glob(Arc::new(Compiled {
            pattern: pattern.to_owned(),
            test,
            size,
        })))
    }

    /// Returns whether a name matches.
    pub fn matches(&self, name: &str) -> bool {
        match &self.0.test {
            GlobTest::Literal => name == self.0.pattern,
            GlobTest::Any => true,
            GlobTest::Regex(regex) => regex.is_match(name.as_bytes()),
        }
    }

    /// Returns the pattern as written.
    pub fn pattern(&self) -> &str {
        &self.0.pattern
    }

    /// Returns an upper bound for the compiled size in bytes.
    pub fn size(&self) -> usize {
        self.0.size
    }
}

/// The maximum nesting of braces. Also counts escaped braces and those in character classes, which errs on the safe
/// side.
fn nesting(pattern: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in pattern.bytes() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Builds a regular expression within the first limit of `SIZES` that suffices, and returns it with that limit.
pub fn compile<R>(build: impl Fn(usize) -> Result<R, regex::Error>) -> Result<(R, usize), String> {
    for size in SIZES {
        match build(size) {
            Ok(regex) => return Ok((regex, size)),
            Err(regex::Error::CompiledTooBig(_)) => {}
            Err(error) => {
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default();
                return Err(last.trim_start_matches("error: ").to_owned());
            }
        }
    }
    let most = SIZES[SIZES.len() - 1] / 1024;
    Err(format!(
        "it is larger than {most} KiB once compiled; shorten it, or repeat less in it"
    ))
}

impl PartialEq for Glob {
    fn eq(&self, other: &Glob) -> bool {
        self.pattern() == other.pattern()
    }
}

impl Eq for Glob {}

/// The subjects that a rule covers; `None` matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matcher {
    pub organization: Option<Glob>,
    /// Matches the workspace's name or id.
    pub workspace: Option<Glob>,
    pub model: Option<Glob>,
    pub team: Option<Glob>,
    /// Matches the API key's id or name. A rule with it has no subjects if the dialect does not report usage by key.
    pub api_key: Option<Glob>,
    /// Matches the user's id, email address or name. A rule with it has no subjects if the dialect does not report
    /// usage by user.
    pub user: Option<Glob>,
}

/// A configured set of workspaces, API keys and tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    /// Unique; `unassigned` is reserved.
    pub name: crate::units::ids::TeamName,
    /// Match the workspace's name or id.
    pub workspaces: Vec<Glob>,
    /// Match the API key's id or name; used if the dialect reports usage by key.
    pub api_keys: Vec<Glob>,
    /// Workspace tags, all of which must match; used if the dialect has tags.
    pub workspace_tags: std::collections::BTreeMap<String, String>,
    /// Notifiers for the team's alerts; if empty, those of the rules.
    pub notify: Vec<crate::units::ids::NotifierName>,
}

impl Team {
    /// Returns whether the team lists the workspace.
    pub fn has_workspace(&self, id: &str, name: &str) -> bool {
        self.workspaces
            .iter()
            .any(|glob| glob.matches(name) || glob.matches(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "a/b\nc", true),
            ("Search*", "Search/EU", true),
            ("Search*", "search", false),
            ("Prod, EU]!", "Prod, EU]!", true),
            ("{a,b{1,2}}*", "b2x", true),
            ("{a,b{1,2}}*", "b3", false),
            ("[!a-c]?", "dé", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("ä*", "äb", true),
        ] {
            let glob = Glob::new(pattern).unwrap();
            assert_eq!(glob.matches(name), expected, "{pattern}: {name}");
            assert_eq!(glob.pattern(), pattern);
        }
    }

    #[test]
    fn globs_beyond_a_limit_are_rejected() {
        let nested = |depth: usize| "{".repeat(depth) + "a" + &"}".repeat(depth);
        assert!(Glob::new(&nested(MAX_BRACES)).unwrap().matches("a"));
        for (pattern, expected) in [
            (nested(MAX_BRACES + 1), "nested more than 16 deep"),
            (nested(260), "nested more than 16 deep"),
            (nested(30_000), "at most 4096 are allowed"),
            ("{".repeat(4096), "nested more than 16 deep"),
            ("x".repeat(4097), "at most 4096 are allowed"),
            ("*".repeat(4096), "larger than 256 KiB"),
            ("}".to_owned(), "unopened alternate"),
            ("[".to_owned(), "unclosed character class"),
        ] {
            let error = Glob::new(&pattern).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
