//! Globs over names and ids: which subjects a rule looks at, which workspaces a team has.

use std::sync::Arc;

use globset::GlobBuilder;
use regex::bytes;

/// Longest glob, in bytes.
pub const MAX_GLOB: usize = 4096;
/// How deep groups may be nested in a regular expression.
pub const MAX_NESTING: u32 = 64;
/// How deep braces may be nested in a glob.
const MAX_BRACES: usize = 16;
/// Limits for a compiled pattern, in bytes. The smallest one that suffices is the pattern's size.
const SIZES: [usize; 3] = [16 * 1024, 64 * 1024, 256 * 1024];
/// Limit for the states that a pattern caches while it matches, in bytes.
pub const MAX_CACHE: usize = 256 * 1024;

/// A glob over a name: `*`, `?`, `[…]`, `{a,b}`. Case counts; `*` matches everything, slashes included.
///
/// It is compiled once, and clones share the result.
#[derive(Debug, Clone)]
pub struct Glob(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    pattern: String,
    test: Test,
    size: usize,
}

#[derive(Debug)]
enum Test {
    /// The pattern is a name in full.
    Name,
    Everything,
    Regex(bytes::Regex),
}

impl Glob {
    /// Compiles a pattern within limits for its length, nesting and compiled size. The error is the reason in words.
    pub fn new(pattern: &str) -> Result<Glob, String> {
        if pattern.len() > MAX_GLOB {
            return Err(format!(
                "it has {} bytes, at most {MAX_GLOB} are allowed",
                pattern.len()
            ));
        }
        let (test, size) = if pattern == "*" {
            (Test::Everything, 0)
        } else if !pattern.contains(['*', '?', '[', '{', '}', '\\']) {
            (Test::Name, 0)
        } else {
            // The library works on nested braces recursively.
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
            (Test::Regex(regex), size)
        };
        Ok(Glob(Arc::new(Compiled {
            pattern: pattern.to_owned(),
            test,
            size,
        })))
    }

    /// Whether a name matches.
    pub fn matches(&self, name: &str) -> bool {
        match &self.0.test {
            Test::Name => name == self.0.pattern,
            Test::Everything => true,
            Test::Regex(regex) => regex.is_match(name.as_bytes()),
        }
    }

    /// The pattern as it was written.
    pub fn pattern(&self) -> &str {
        &self.0.pattern
    }

    /// Upper bound for the bytes that the compiled pattern takes.
    pub fn size(&self) -> usize {
        self.0.size
    }
}

/// The deepest nesting of braces. Escaped braces and those in a class count as well, which errs on the safe side.
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

/// Builds a regular expression within the smallest limit of `SIZES` that suffices, which is returned with it.
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

/// What a rule is narrowed to. `None` is everything. A workspace's glob may match its name or its id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matcher {
    pub organization: Option<Glob>,
    /// A workspace's name or id.
    pub workspace: Option<Glob>,
    pub model: Option<Glob>,
    pub team: Option<Glob>,
    /// An API key's id or name. Where the dialect has no usage by key, a rule that asks for one has no subject.
    pub api_key: Option<Glob>,
    /// A person's id, email address or name. Where the dialect has no usage by person, a rule that asks for one has no
    /// subject.
    pub user: Option<Glob>,
}

/// A name that the configuration gives to a set of workspaces (and, where the dialect has them, keys and tags).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    /// Unique; `unassigned` is taken.
    pub name: crate::domain::ids::TeamName,
    /// Workspaces by name or id.
    pub workspaces: Vec<Glob>,
    /// API keys by id or name; used where the dialect has usage by key.
    pub api_keys: Vec<Glob>,
    /// Tags of workspaces, all of which must match; used where the dialect has tags.
    pub workspace_tags: std::collections::BTreeMap<String, String>,
    /// Who is told of what belongs to it; empty is whoever the rules name.
    pub notify: Vec<crate::domain::ids::NotifierName>,
}

impl Team {
    /// Whether a workspace is one of this team's.
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
    fn a_glob_beyond_a_limit_is_refused() {
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
