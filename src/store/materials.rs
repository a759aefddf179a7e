//! What a row was made from, as columns of a table, and the one rule about what the rows of a table share: rows of one model
//! its weights, config.json and tokenizer, rows of one input its file, rows of one backend the program's arithmetic and, in one
//! environment, its libraries, and all rows the manifest's settings.
//!
//! Older tables lack these columns. What a row does not say agrees with anything.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::derive::{entries, listed};
use super::schema::ResultRow;
use crate::engine::BackendKind;
use crate::record::{Materials, Outcome};

/// Something that rows of one table share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Material {
    /// The weights of a model.
    Weights,
    /// The config.json of a model.
    Config,
    /// The tokenizer of a model.
    Tokenizer,
    /// The file of an input.
    Input,
    /// The manifest's settings.
    Settings,
    /// The program's own arithmetic for a backend.
    Arithmetic,
    /// The libraries of a backend. Those of another environment may be other builds of one version.
    Libraries,
}

impl fmt::Display for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Material::Weights => "weights",
            Material::Config => "config.json",
            Material::Tokenizer => "tokenizer",
            Material::Input => "input file",
            Material::Settings => "settings",
            Material::Arithmetic => "arithmetic of the program",
            Material::Libraries => "libraries",
        })
    }
}

/// The beginning of a digest, for messages.
pub fn digest_label(digest: &str) -> String {
    const DIGITS: usize = 12;
    format!("sha256 {}", digest.get(..DIGITS).unwrap_or(digest))
}

impl Material {
    /// Every material.
    pub const ALL: [Material; 7] = [
        Material::Weights,
        Material::Config,
        Material::Tokenizer,
        Material::Input,
        Material::Settings,
        Material::Arithmetic,
        Material::Libraries,
    ];

    /// The model, input or backend of a row that this material belongs to; empty for the settings, which belong to all.
    pub fn owner(self, row: &ResultRow) -> &str {
        match self {
            Material::Weights | Material::Config | Material::Tokenizer => &row.model,
            Material::Input => &row.input,
            Material::Settings => "",
            Material::Arithmetic | Material::Libraries => row.backend.name(),
        }
    }

    /// The environment within which rows share it; empty where they share it in all.
    fn environment(self, row: &ResultRow) -> &str {
        match self {
            Material::Libraries => row.environment.as_deref().unwrap_or_default(),
            _ => "",
        }
    }

    /// Whether two rows should share it.
    fn is_shared(self, one: &ResultRow, other: &ResultRow) -> bool {
        (self.owner(one), self.environment(one)) == (self.owner(other), self.environment(other))
    }

    /// The same for messages.
    pub fn subject(self, row: &ResultRow) -> String {
        match self.owner(row) {
            "" => "the experiment".to_owned(),
            owner => owner.to_owned(),
        }
    }

    /// `config.json of bert`
    pub fn of(self, row: &ResultRow) -> String {
        format!("{self} of {}", self.subject(row))
    }

    /// What a row says of it, for messages: the label of its weights, or the beginning of a digest, for each library.
    pub fn label(self, row: &ResultRow) -> Option<String> {
        match self {
            Material::Weights => row.weights().map(|weights| weights.to_string()),
            Material::Libraries => {
                let labels =
                    libraries(row).into_iter().map(|(name, digest)| format!("{name} {}", digest_label(digest)));
                Some(labels.collect::<Vec<_>>().join(", ")).filter(|labels| !labels.is_empty())
            }
            _ => self.digest(row).map(digest_label),
        }
    }

    /// Whether two rows of one owner have the same of it, as far as both say.
    pub fn agrees(self, one: &ResultRow, other: &ResultRow) -> bool {
        match self {
            Material::Weights => one.weights().zip(other.weights()).is_none_or(|(one, other)| one.same_weights(&other)),
            Material::Libraries => unlike_libraries(one, other).next().is_none(),
            _ => self.digest(one).zip(self.digest(other)).is_none_or(|(one, other)| one == other),
        }
    }

    fn digest(self, row: &ResultRow) -> Option<&str> {
        match self {
            Material::Weights | Material::Libraries => None,
            Material::Config => row.config_sha256.as_deref(),
            Material::Tokenizer => row.tokenizer_sha256.as_deref(),
            Material::Input => row.input_sha256.as_deref(),
            Material::Settings => row.settings_sha256.as_deref(),
            Material::Arithmetic => row.arithmetic_sha256.as_deref(),
        }
    }

    fn is_known(self, row: &ResultRow) -> bool {
        match self {
            Material::Weights => row.weights_kind.is_some(),
            Material::Libraries => row.engine_library_digests.is_some(),
            _ => self.digest(row).is_some(),
        }
    }
}

/// The digest of each library that a row states, by its name.
fn libraries(row: &ResultRow) -> BTreeMap<&str, &str> {
    entries(row.engine_library_digests.as_deref().unwrap_or_default())
}

/// Libraries that both rows name and whose bytes differ, whatever their version says: the name and both digests.
pub fn unlike_libraries<'a>(
    one: &'a ResultRow,
    other: &'a ResultRow,
) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
    let other = libraries(other);
    let both = libraries(one).into_iter().filter_map(move |(name, digest)| Some((name, digest, *other.get(name)?)));
    both.filter(|(_, one, other)| one != other)
}

/// Two rows in different folders that should share a material and do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// Folder of the one row.
    pub path: PathBuf,
    /// Folder of the other.
    pub other: PathBuf,
    /// What the material belongs to.
    subject: String,
    material: Material,
    found: String,
    expected: String,
}

impl Contradiction {
    /// What resolves it besides merging each folder with its like.
    pub fn cure(&self) -> &'static str {
        match self.material {
            Material::Libraries => "put one build of the library in place and run the other folder again with it",
            _ => {
                "put the same file in place on both machines and run the one that lacks it again, give the two different names in \
                 the manifest"
            }
        }
    }

    /// The contradiction of a row with another in this material; each with its folder.
    pub fn new(material: Material, (path, row): (&Path, &ResultRow), (other, expected): (&Path, &ResultRow)) -> Self {
        let (path, other, subject) = (path.to_owned(), other.to_owned(), material.subject(row));
        let (found, expected) = match material {
            Material::Libraries => {
                let label = |name: &str, digest| format!("{name} {}", digest_label(digest));
                let unlike = unlike_libraries(row, expected);
                let labels = unlike.map(|(name, one, other)| (label(name, one), label(name, other)));
                let (found, expected): (Vec<String>, Vec<String>) = labels.unzip();
                (found.join(", "), expected.join(", "))
            }
            _ => {
                let label = |row| material.label(row).unwrap_or_else(|| "not recorded".to_owned());
                (label(row), label(expected))
            }
        };
        Contradiction { path, other, subject, material, found, expected }
    }
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Contradiction { path, other, subject, material, found, expected } = self;
        let (path, other) = (path.display(), other.display());
        write!(
            f,
            "{path}: {subject} was measured with another version of its {material} ({found}) than in {other} ({expected})"
        )
    }
}

/// The note about rows of a backend that builds with another arithmetic computed.
pub fn arithmetic_note(backend: BackendKind) -> String {
    format!("rows of {backend} were computed by builds of this program whose arithmetic differs; they are not compared")
}

/// The note about rows of a backend that builds of its libraries with other bytes computed.
pub fn libraries_note(backend: BackendKind) -> String {
    format!("rows of {backend} were computed with different builds of its libraries; they are not compared")
}

/// A row of each material and owner, with a tag of the caller's, like its folder.
#[derive(Debug, Clone)]
pub struct Shared<'a, T> {
    rows: BTreeMap<(Material, &'a str, &'a str), (&'a ResultRow, T)>,
}

impl<T> Default for Shared<'_, T> {
    fn default() -> Self {
        Shared { rows: BTreeMap::new() }
    }
}

impl<'a, T: Copy> Shared<'a, T> {
    /// Compares a row with those before it. Returns what it should share with one of them and does not, and that row; keeps
    /// what it is the first to say.
    pub fn add(&mut self, row: &'a ResultRow, tag: T) -> Vec<(Material, &'a ResultRow, T)> {
        let known = Material::ALL.into_iter().filter(|material| material.is_known(row));
        let mut found = Vec::new();
        for material in known {
            let key = (material, material.owner(row), material.environment(row));
            let (other, of_other) = *self.rows.entry(key).or_insert((row, tag));
            if !material.agrees(row, other) {
                found.push((material, other, of_other));
            }
        }
        found
    }

    /// Keeps this row for everything that it says.
    pub fn replace(&mut self, row: &'a ResultRow, tag: T) {
        for material in Material::ALL.into_iter().filter(|material| material.is_known(row)) {
            self.rows.insert((material, material.owner(row), material.environment(row)), (row, tag));
        }
    }

    /// What a row should share with the kept ones and does not.
    pub fn contradicted_by(&self, row: &ResultRow) -> Option<Material> {
        let kept = |material: &Material| self.rows.get(&(*material, material.owner(row), material.environment(row)));
        Material::ALL.into_iter().find(|material| kept(material).is_some_and(|(other, _)| !material.agrees(row, other)))
    }
}

impl ResultRow {
    /// What this row should share with another of one table and does not.
    pub fn contradicts(&self, other: &ResultRow) -> Option<Material> {
        let contradicted = |material: &Material| material.is_shared(self, other) && !material.agrees(self, other);
        Material::ALL.into_iter().find(contradicted)
    }

    /// Sets the columns of an outcome's weights and other materials.
    pub(super) fn set_materials_of(&mut self, outcome: &Outcome) {
        if let Some(weights) = outcome.weights() {
            self.set_weights(weights);
        }
        if let Some(materials) = outcome.materials() {
            self.set_materials(materials);
        }
    }

    /// Sets the columns of the materials besides the weights.
    pub fn set_materials(&mut self, materials: &Materials) {
        self.config_sha256.clone_from(&materials.config_sha256);
        self.tokenizer_sha256 = materials.tokenizer_sha256();
        self.input_sha256.clone_from(&materials.input_sha256);
        self.engine_library_digests = listed(&materials.libraries);
        self.settings_sha256 = Some(materials.settings_sha256.clone());
        self.arithmetic_sha256.clone_from(&materials.arithmetic_sha256);
    }

    /// The row as a program writes it that does not know the columns of the materials.
    pub(crate) fn without_materials(&self) -> ResultRow {
        ResultRow {
            config_sha256: None,
            tokenizer_sha256: None,
            input_sha256: None,
            settings_sha256: None,
            arithmetic_sha256: None,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WeightsOrigin;

    fn row(edit: impl FnOnce(&mut ResultRow)) -> ResultRow {
        let text = |text: &str| Some(text.to_owned());
        let mut row = ResultRow {
            model: "m".to_owned(),
            input: "i".to_owned(),
            backend: BackendKind::Cuda,
            config_sha256: text("c"),
            tokenizer_sha256: text("t"),
            input_sha256: text("f"),
            settings_sha256: text("s"),
            arithmetic_sha256: text("a"),
            ..ResultRow::default()
        };
        row.set_weights(&WeightsOrigin::Random { seed: 1 }.into());
        edit(&mut row);
        row
    }

    #[test]
    fn rows_of_one_environment_share_the_bytes_of_each_library_that_both_name() {
        let of = |environment: &str, digests: &str| {
            row(|row| {
                row.environment = Some(environment.to_owned());
                row.engine_library_digests = Some(digests.to_owned());
            })
        };
        let (one, other) = (of("e", "liba.so=12; libb.so=34"), of("e", "liba.so=12; libb.so=56; libc.so=78"));
        assert_eq!(
            (one.contradicts(&other), other.contradicts(&one)),
            (Some(Material::Libraries), Some(Material::Libraries))
        );
        let mut shared = Shared::default();
        assert!(shared.add(&one, 0).is_empty());
        assert_eq!(shared.add(&other, 1), [(Material::Libraries, &one, 0)]);
        let elsewhere = of("f", "libb.so=56");
        assert!(shared.add(&elsewhere, 2).is_empty(), "another machine may have another build");
        assert_eq!((one.contradicts(&elsewhere), one.contradicts(&of("e", "liba.so=12"))), (None, None));
        let other_backend = ResultRow { backend: BackendKind::OnnxRuntime, ..other.clone() };
        assert_eq!(one.contradicts(&other_backend), None);
        let found = Contradiction::new(Material::Libraries, (Path::new("b"), &other), (Path::new("a"), &one));
        assert_eq!(
            found.to_string(),
            "b: cuda was measured with another version of its libraries (libb.so sha256 56) than in a (libb.so sha256 34)"
        );
        assert!(found.cure().contains("one build of the library"));
    }

    /// Rows that differ in one material, and in which of their names they must differ to be no contradiction.
    #[test]
    fn rows_of_one_owner_share_its_materials_and_what_is_unknown_contradicts_nothing() {
        type Edit = fn(&mut ResultRow);
        let other = || Some("other".to_owned());
        let base = row(|_| {});
        let cases: [(Material, Edit, Edit); 5] = [
            (Material::Config, |row| row.config_sha256 = None, |row| row.model = "n".to_owned()),
            (Material::Tokenizer, |row| row.tokenizer_sha256 = None, |row| row.model = "n".to_owned()),
            (Material::Input, |row| row.input_sha256 = None, |row| row.input = "j".to_owned()),
            (Material::Settings, |row| row.settings_sha256 = None, |_| {}),
            (Material::Arithmetic, |row| row.arithmetic_sha256 = None, |row| row.backend = BackendKind::Reference),
        ];
        for (material, forget, rename) in cases {
            let mut changed = base.clone();
            let column = match material {
                Material::Config => &mut changed.config_sha256,
                Material::Tokenizer => &mut changed.tokenizer_sha256,
                Material::Input => &mut changed.input_sha256,
                Material::Settings => &mut changed.settings_sha256,
                _ => &mut changed.arithmetic_sha256,
            };
            *column = other();
            assert_eq!((changed.contradicts(&base), base.contradicts(&changed)), (Some(material), Some(material)));
            let mut shared = Shared::default();
            assert!(shared.add(&base, 0).is_empty() && shared.contradicted_by(&changed) == Some(material));
            assert_eq!(shared.add(&changed, 1), [(material, &base, 0)]);
            shared.replace(&changed, 1);
            assert_eq!((shared.contradicted_by(&changed), shared.contradicted_by(&base)), (None, Some(material)));
            let mut renamed = changed.clone();
            rename(&mut renamed);
            assert_eq!(renamed.contradicts(&base).is_none(), material != Material::Settings);
            forget(&mut changed);
            assert_eq!((changed.contradicts(&base), base.contradicts(&changed)), (None, None), "{material}");
        }
        let trained = row(|row| row.set_weights(&WeightsOrigin::Folder { sha256: "12".repeat(32) }.into()));
        assert_eq!(trained.contradicts(&base), Some(Material::Weights));
    }
}
