//! The container's recipe and the scripts it runs, without building it: container/try-image.sh does that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::fixtures::skip;
use crate::{both_streams, repository, write_command};

/// The instructions of the recipe, continued lines joined.
fn instructions() -> Vec<String> {
    let text = fs::read_to_string(repository().join("container/Containerfile")).unwrap().replace("\\\n", " ");
    text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn base_images_are_pinned_by_digest() {
    let instructions = instructions();
    let defaults: Vec<&str> = instructions
        .iter()
        .take_while(|line| line.starts_with("ARG"))
        .map(|line| line.strip_prefix("ARG ").unwrap().split_once('=').unwrap().1)
        .collect();
    assert_eq!(defaults.len(), 2);
    for image in defaults {
        let (name, digest) = image.split_once("@sha256:").unwrap_or_else(|| panic!("{image} has no digest"));
        assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{image}");
        // A short name: whoever builds says which registry serves it.
        assert!(!name.contains('/'), "{image}");
    }
    let stages: Vec<_> = instructions.iter().filter(|line| line.starts_with("FROM")).collect();
    assert_eq!(stages, ["FROM ${RUST} AS setup", "FROM setup AS libraries", "FROM setup AS build", "FROM ${BASE}"]);
}

#[test]
fn the_program_is_built_from_the_lock_and_runs_as_nobody_in_particular() {
    let instructions = instructions();
    let built = instructions.iter().find(|line| line.contains("cargo build")).unwrap();
    assert!(built.contains("--locked"), "{built}");
    let last = |name: &str| instructions.iter().rfind(|line| line.starts_with(name)).unwrap();
    assert_eq!(last("USER"), "USER 10001:10001");
    for variable in ["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility", "NVIDIA_REQUIRE_CUDA"]
    {
        assert!(last("ENV").contains(variable), "{variable}");
    }
}

/// What is copied is in the repository and not kept out of the context; what the program includes is copied.
#[test]
fn the_context_has_what_the_recipe_copies() {
    let ignore = fs::read_to_string(repository().join(".dockerignore")).unwrap();
    let allowed: Vec<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let mut copied = Vec::new();
    for line in instructions().iter().filter(|line| line.starts_with("COPY") && !line.contains("--from")) {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        copied.extend(words[..words.len() - 1].iter().map(|&word| word.to_owned()));
    }
    for path in &copied {
        assert!(repository().join(path).exists(), "{path} is not there");
        let is_allowed = allowed.iter().any(|allowed| Path::new(path).starts_with(allowed));
        assert!(is_allowed, "{path} is kept out by .dockerignore");
    }
    for path in &allowed {
        let is_copied = copied.iter().any(|copied| Path::new(copied).starts_with(path));
        assert!(is_copied, "{path} is in the context and nothing copies it");
    }
    for source in sources_of_the_build() {
        let is_copied = copied.iter().any(|copied| Path::new(&source).starts_with(copied));
        assert!(is_copied, "{source} is not copied");
    }
}

/// What the program is made of, as `build.rs` has it.
fn sources_of_the_build() -> Vec<String> {
    let build = fs::read_to_string(repository().join("build.rs")).unwrap();
    let list = build.split_once("const SOURCES").unwrap().1.split_once("];").unwrap().0;
    let sources: Vec<String> = list.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(sources.iter().any(|source| source == "src"), "{list}");
    sources
}

/// The sources of an image as Debian's official ones have them.
const RECORDED: &str = "\
Types: deb
# http://snapshots.invalid/debian/20260815T000000Z
URIs: http://archive.invalid/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
# http://snapshots.invalid/debian-security/20260815T000000Z
URIs: http://archive.invalid/debian-security
Suites: bookworm-security
Components: main
";

struct Sources {
    folder: tempfile::TempDir,
}

impl Sources {
    fn of(text: &str) -> Self {
        let sources = Sources { folder: tempfile::tempdir().unwrap() };
        fs::write(sources.path(), text).unwrap();
        sources
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("debian.sources")
    }

    fn pin(&self, mode: &str) -> Output {
        let script = repository().join("container/apt-sources.sh");
        Command::new("sh").arg(script).arg(mode).arg(self.path()).output().unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }
}

#[cfg(unix)]
#[test]
fn packages_come_from_the_snapshot_that_the_base_image_records() {
    let sources = Sources::of(RECORDED);
    let output = sources.pin("recorded");
    assert!(output.status.success(), "{}", both_streams(&output));
    let text = sources.text();
    assert!(!text.contains("archive.invalid"), "{text}");
    for archive in ["debian", "debian-security"] {
        let pinned = format!("URIs: http://snapshots.invalid/{archive}/20260815T000000Z\nCheck-Valid-Until: no\n");
        assert!(text.contains(&pinned), "{text}");
    }
    assert!(text.contains("Suites: bookworm bookworm-updates\n"), "{text}");

    let again = sources.pin("recorded");
    assert!(again.status.success(), "{}", both_streams(&again));
    assert_eq!(sources.text(), text);

    let live = Sources::of(RECORDED);
    assert!(live.pin("live").status.success());
    assert_eq!(live.text(), RECORDED);
}

/// Names of fields may be written in any case, and a value may go on in further lines.
#[cfg(unix)]
#[test]
fn fields_are_read_as_apt_reads_them() {
    let lines = "uris:\n http://archive.invalid/debian\n# a comment\n http://mirror.invalid/debian\n";
    for text in [
        RECORDED.replace("URIs:", "uris:").replace("Suites:", "check-valid-until: yes\nSUITES:"),
        RECORDED.replace("URIs: http://archive.invalid/debian\n", lines),
    ] {
        let sources = Sources::of(&text);
        let output = sources.pin("recorded");
        assert!(output.status.success(), "{}", both_streams(&output));
        let pinned = sources.text();
        assert!(!pinned.contains("archive.invalid") && !pinned.contains("mirror.invalid"), "{pinned}");
        assert!(!pinned.contains("yes") && pinned.matches("Check-Valid-Until: no\n").count() == 2, "{pinned}");
    }
    // An address with a moment in it is a snapshot, whoever has put it there; of several, each.
    let snapshot = "http://snapshots.invalid/debian/20260815T000000Z";
    for (second, is_pinned) in [(snapshot, true), ("http://archive.invalid/debian", false)] {
        let sources = Sources::of(&format!("Types: deb\nURIs: {snapshot} {second}\nSuites: bookworm\n"));
        assert_eq!(sources.pin("recorded").status.success(), is_pinned, "{second}");
    }
}

/// Packages of another file would be of today.
#[cfg(unix)]
#[test]
fn other_sources_are_refused_by_name() {
    for (name, text, expected) in [
        ("another.list", "deb http://archive.invalid/debian bookworm main\n", Some("another.list names archives")),
        ("another.sources", "Types: deb\nURIs: http://archive.invalid\n", Some("another.sources names archives")),
        ("empty.list", "# deb http://archive.invalid/debian bookworm main\n\n", None),
        ("another.list.save", "deb http://archive.invalid/debian bookworm main\n", None),
    ] {
        let sources = Sources::of(RECORDED);
        fs::write(sources.folder.path().join(name), text).unwrap();
        let output = sources.pin("recorded");
        let said = both_streams(&output);
        assert_eq!(output.status.success(), expected.is_none(), "{name}: {said}");
        if let Some(expected) = expected {
            assert!(said.contains(expected) && said.contains("--build-arg APT=live"), "{name}: {said}");
            assert_eq!(sources.text(), RECORDED);
        }
    }
}

/// Half pinned is not pinned.
#[cfg(unix)]
#[test]
fn sources_that_record_no_snapshot_are_refused_and_left_alone() {
    let half = RECORDED.replacen("# http://snapshots.invalid/debian/20260815T000000Z\n", "", 1);
    for (text, expected) in [(half.as_str(), "records no snapshot"), ("", "names no archive")] {
        let sources = Sources::of(text);
        let output = sources.pin("recorded");
        let said = both_streams(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(expected) && said.contains("--build-arg APT=live"), "{said}");
        assert_eq!(sources.text(), text);
    }
    let sources = Sources::of(RECORDED);
    fs::remove_file(sources.path()).unwrap();
    assert!(both_streams(&sources.pin("recorded")).contains("is not there"));
    assert!(both_streams(&sources.pin("recorder")).contains("unknown mode: recorder"));
}

/// A builder that only says what it was asked, in a folder whose name has a space.
#[cfg(unix)]
fn builder(folder: &Path) -> PathBuf {
    let tool = folder.join("a folder/docker");
    fs::create_dir(tool.parent().unwrap()).unwrap();
    write_command(&tool, "printf '%s\\n' \"$@\" \"time $SOURCE_DATE_EPOCH\"");
    tool
}

/// The program says of itself whether it is what its commit holds; what else is in the image is no part of it.
#[cfg(unix)]
#[test]
fn only_changes_to_the_programs_sources_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let tool = builder(folder.path());
    let root = folder.path().join("repository");
    for name in ["build.rs", "Cargo.toml", "LICENSE", "container/image.sh", "src/main.rs"] {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        fs::copy(repository().join(name), root.join(name)).unwrap();
    }
    for arguments in [&["init", "--quiet"][..], &["add", "."], &["commit", "--quiet", "--message", "all"]] {
        let mut git = Command::new("git");
        git.current_dir(&root).args(["-c", "user.name=nobody", "-c", "user.email=nobody@invalid"]).args(arguments);
        let output = git.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").output();
        if !output.is_ok_and(|output| output.status.success()) {
            skip("git is not there, or makes no commit");
            return;
        }
    }
    for (changed, expected) in [("LICENSE", "DIRTY=false"), ("src/main.rs", "DIRTY=true")] {
        fs::write(root.join(changed), "changed").unwrap();
        let output =
            Command::new("bash").arg(root.join("container/image.sh")).env("IMAGE_TOOL", &tool).output().unwrap();
        let said = both_streams(&output);
        assert!(output.status.success() && said.lines().any(|line| line == expected), "{changed}: {said}");
    }
}

/// What `make image` hands to a builder.
#[cfg(unix)]
#[test]
fn the_builder_is_told_what_the_image_is_made_of() {
    let folder = tempfile::tempdir().unwrap();
    let tool = builder(folder.path());
    let run = |tool: &Path| {
        let script = repository().join("container/image.sh");
        Command::new("bash").arg(script).arg("--no-cache").env("IMAGE_TOOL", tool).output().unwrap()
    };
    let output = run(&tool);
    let said = both_streams(&output);
    assert!(output.status.success(), "{said}");
    let arguments: Vec<&str> = said.lines().collect();
    assert!(arguments.contains(&"--no-cache") && arguments.contains(&"container/Containerfile"), "{said}");
    assert!(arguments.contains(&concat!("VERSION=", env!("CARGO_PKG_VERSION"))), "{said}");
    let commit = arguments.iter().find_map(|argument| argument.strip_prefix("COMMIT=")).unwrap();
    let time: u64 = arguments.iter().find_map(|argument| argument.strip_prefix("time ")).unwrap().parse().unwrap();
    // An archive without a repository has neither commit nor time.
    assert_eq!(commit.len() == 40, time > 0, "{said}");

    let absent = run(&folder.path().join("absent"));
    assert_eq!(absent.status.code(), Some(2));
    assert!(both_streams(&absent).contains("install one of them"), "{}", both_streams(&absent));
}
