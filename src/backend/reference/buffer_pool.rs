//! Which buffer a value lives in.

use crate::graph::Graph;

/// The buffers that values are assigned to. After a value's last use its buffer is free for other values.
#[derive(Debug, Default)]
pub(super) struct BufferPool {
    /// Elements of each buffer.
    pub sizes: Vec<usize>,
    /// BufferPool whose value nobody reads any more.
    pub free: Vec<usize>,
}

impl BufferPool {
    /// Takes the free buffer that fits best, and grows it if necessary. Takes a new one if none is free.
    pub fn take(&mut self, elements: usize) -> usize {
        let fits = |&&buffer: &&usize| self.sizes[buffer] >= elements;
        let smallest_fit = self.free.iter().filter(fits).min_by_key(|&&buffer| self.sizes[buffer]);
        let choice = smallest_fit.or_else(|| self.free.iter().max_by_key(|&&buffer| self.sizes[buffer])).copied();
        match choice {
            Some(buffer) => {
                self.free.retain(|&other| other != buffer);
                self.sizes[buffer] = self.sizes[buffer].max(elements);
                buffer
            }
            None => {
                self.sizes.push(elements);
                self.sizes.len() - 1
            }
        }
    }
}

/// For every value, the index of the last op that reads it. The graph's output lives to the end.
pub(super) fn last_uses(graph: &Graph) -> Vec<usize> {
    let mut last = vec![0; graph.values.len()];
    for (index, op) in graph.ops.iter().enumerate() {
        op.inputs.iter().for_each(|id| last[id.0] = index);
    }
    last[graph.output.0] = usize::MAX;
    last
}
