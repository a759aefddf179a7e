//! The source and compiler of this binary. The build script (build.rs at the repository's root) asks git and the
//! compiler. The commit is therefore that of the running code, whatever the work tree holds later.

use serde::{Deserialize, Serialize};

/// The build of this binary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildInfo {
    /// Version of mixprec.
    pub version: String,
    /// Git commit, 40 hexadecimal digits; `None` when built from an archive.
    pub commit: Option<String>,
    /// Whether files that go into the binary differed from that commit.
    pub dirty: Option<bool>,
    /// Compiler, as `rustc --version` prints it.
    pub rustc: Option<String>,
    /// Target triple.
    pub target: Option<String>,
    /// Processor features that the compiler may assume, sorted. (Kernels may detect more at run time.)
    pub target_features: Vec<String>,
}

impl BuildInfo {
    /// The build of the running binary.
    pub fn current() -> Self {
        BuildInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("MIXPREC_GIT_COMMIT").map(str::to_owned),
            dirty: option_env!("MIXPREC_GIT_DIRTY").map(|dirty| dirty == "true"),
            rustc: option_env!("MIXPREC_RUSTC").map(str::to_owned),
            target: option_env!("MIXPREC_TARGET").map(str::to_owned),
            target_features: split_features(option_env!("MIXPREC_TARGET_FEATURES").unwrap_or_default()),
        }
    }

    /// Whether a commit names the whole source of the binary.
    pub fn has_its_source_in_git(&self) -> bool {
        self.commit.is_some() && self.dirty != Some(true)
    }

    /// `mixprec 0.1.0, commit 0123456789ab (modified)`, for people.
    pub fn summary(&self) -> String {
        let commit = match (&self.commit, self.dirty) {
            (Some(commit), Some(true)) => format!("commit {} (modified)", short(commit)),
            (Some(commit), _) => format!("commit {}", short(commit)),
            (None, _) => "built without git, commit unknown".to_owned(),
        };
        format!("mixprec {}, {commit}", self.version)
    }
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

fn split_features(list: &str) -> Vec<String> {
    let mut features: Vec<String> = list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    features.sort();
    features
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_binary_knows_its_compiler_and_target() {
        let build = BuildInfo::current();
        assert_eq!(build.version, env!("CARGO_PKG_VERSION"));
        assert!(build.rustc.is_some_and(|rustc| rustc.starts_with("rustc 1.")));
        assert!(build.target.is_some_and(|target| target.contains(std::env::consts::ARCH)));
        // Commit and dirtiness are either both known or both unknown.
        assert_eq!(build.commit.is_some(), build.dirty.is_some());
        assert!(build.commit.is_none_or(|commit| commit.len() == 40));
    }

    #[test]
    fn features_are_sorted_and_an_empty_list_is_empty() {
        assert_eq!(split_features("sse2,fxsr,sse"), ["fxsr", "sse", "sse2"]);
        assert!(split_features("").is_empty());
    }

    #[test]
    fn a_modified_build_says_so() {
        let mut build = BuildInfo::current();
        build.version = "9.9.9".to_owned();
        build.commit = Some("0123456789abcdef0123456789abcdef01234567".to_owned());
        build.dirty = Some(true);
        assert_eq!(build.summary(), "mixprec 9.9.9, commit 0123456789ab (modified)");
        build.commit = None;
        assert_eq!(build.summary(), "mixprec 9.9.9, built without git, commit unknown");
    }
}
