//! `mixprec appendix`: the reviewer's appendix as LaTeX and Markdown.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::OK;
use super::output::{note, show};
use crate::appendix::{self, AppendixRequest, DocumentFormat};

/// File name without its extension, where a folder is named.
const STEM: &str = "appendix";

#[derive(Debug, Args)]
pub(super) struct AppendixArgs {
    /// Folders with results of the manifests: runs, merges or artifacts. What none of them measured is an estimate or
    /// `not measured`.
    #[arg(value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Folder for appendix.tex and appendix.md, or one file of either kind [default: standard output].
    #[arg(long, value_name = "DIR|FILE")]
    out: Option<PathBuf>,
    /// Format [default: both in a folder, Markdown on standard output].
    #[arg(long, value_enum)]
    format: Option<DocumentFormat>,
    /// Folder with the manifests, claims.yaml and appendix.yaml.
    #[arg(long, value_name = "DIR", default_value = "experiments")]
    experiments: PathBuf,
}

pub(super) fn execute(args: AppendixArgs) -> Result<u8> {
    let AppendixArgs { dirs, out, format, experiments } = args;
    let files = match out {
        None => vec![],
        Some(out) => targets(&out, format)?,
    };
    let appendix = appendix::appendix(&AppendixRequest { experiments, dirs })?;
    if files.is_empty() {
        show(appendix.render(format.unwrap_or(DocumentFormat::Markdown))?)?;
    }
    for (path, format) in files {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        crate::files::replace(&path, appendix.render(format)?.as_bytes())
            .with_context(|| path.display().to_string())?;
        note(format_args!("{}", path.display()));
    }
    Ok(OK)
}

/// Files to write, each with its format.
fn targets(out: &Path, format: Option<DocumentFormat>) -> Result<Vec<(PathBuf, DocumentFormat)>> {
    let extension = out.extension().and_then(|extension| extension.to_str());
    let named = DocumentFormat::ALL.into_iter().find(|format| extension == Some(format.extension()));
    match (named, format) {
        _ if out.is_dir() => {}
        (Some(named), Some(asked)) if named != asked => {
            bail!(
                "--out {} is a .{} file, --format asks for another; change one of them",
                out.display(),
                named.extension()
            )
        }
        (Some(named), _) => return Ok(vec![(out.to_owned(), named)]),
        (None, _) => {}
    }
    let formats = DocumentFormat::ALL.into_iter().filter(|one| format.is_none_or(|asked| asked == *one));
    Ok(formats.map(|one| (out.join(format!("{STEM}.{}", one.extension())), one)).collect())
}
