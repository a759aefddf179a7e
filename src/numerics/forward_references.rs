//! The reference outputs that forwards are compared with, read file by file.

use std::path::PathBuf;

use super::compare::{RowDistance, distances};
use super::reference::{Part, ReferenceOutputs, ReferenceSource};
use crate::engine::Output;
use crate::graph::Shape;

/// Finds the reference files of a configuration's forwards.
pub type PathOf<'a> = Box<dyn Fn(Part) -> PathBuf + 'a>;

/// The reference outputs of the sequences that forwards read, one file in memory at a time.
pub struct ForwardReferences<'a> {
    source: ReferenceSource<'a>,
    /// Where the files are, or why there are none.
    paths: Result<PathOf<'a>, String>,
    loaded: Option<LoadedPart>,
}

/// A reference file in memory.
struct LoadedPart {
    part: Part,
    outputs: ReferenceOutputs,
    /// Of each sequence, the rows that are kept.
    kept: Vec<Vec<usize>>,
}

impl<'a> ForwardReferences<'a> {
    /// Those of a source, whatever its part.
    pub fn new(source: ReferenceSource<'a>, paths: Result<PathOf<'a>, String>) -> Self {
        ForwardReferences { source, paths, loaded: None }
    }

    /// Distances of an output from the reference, of all rows that are kept. The output's batch begins with this sequence
    /// of the input.
    ///
    /// # Errors
    /// Why a sequence has no reference.
    pub(super) fn distances(
        &mut self,
        output: &Output,
        shape: Shape,
        first: usize,
    ) -> Result<Vec<RowDistance>, String> {
        let all = self.source.input.len(shape.sequence).unwrap_or(usize::MAX).max(1);
        let rows = output.rows / shape.batch;
        let mut found = Vec::new();
        for place in 0..shape.batch {
            let (part, within) = Part::with((first + place) % all);
            let LoadedPart { outputs, kept, .. } = self.load(part)?;
            let before: usize = kept[..within].iter().map(Vec::len).sum();
            let own = kept[within].iter().enumerate();
            let pairs: Vec<_> = own.map(|(index, row)| (place * rows + row, before + index)).collect();
            found.extend(distances(output, &outputs.output, &pairs)?);
        }
        Ok(found)
    }

    fn load(&mut self, part: Part) -> Result<&LoadedPart, String> {
        let loaded = match self.loaded.take().filter(|loaded| loaded.part == part) {
            Some(loaded) => loaded,
            None => {
                let source = ReferenceSource { part, ..self.source };
                let path = self.paths.as_ref().map_err(Clone::clone)?(part);
                let outputs = source.read(&path).map_err(|error| error.to_string())?;
                let lengths = source.batch().map_err(|error| error.to_string())?.lengths;
                let Output { kind, width, .. } = outputs.output;
                let kept = lengths.iter().map(|&length| source.kept(kind, width, length)).collect();
                LoadedPart { part, outputs, kept }
            }
        };
        Ok(self.loaded.insert(loaded))
    }
}
