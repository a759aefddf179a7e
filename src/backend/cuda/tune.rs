//! Chooses the kernel for each group of stages: times the candidates on the device and caches the result.
//!
//! A candidate is timed over all layers at once, so that it reads cold weights as in the forward pass. A kernel that takes the
//! place of two groups is timed within the whole pass.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::calls::{
    Choice, DeviceCall, LIBRARY_ALGORITHMS, Placement, ProductChoice, StageGroup, calls, choices, group_key,
    groups_together, with_attention,
};
use super::capture::capture;
use super::catalogue::sources_digest;
use super::error::{failed, unavailable};
use super::gpu::GpuRuntime;
use super::libraries;
use super::matmul::Matmul;
use super::memory::DeviceMemory;
use super::stage::Stages;
use crate::cache::ChecksummedFolder;
use crate::digest::sha256;
use crate::engine::{BackendError, BuildProgress, ProgressSink};

/// Raised with every change of the procedure below that its numbers do not show: choices of an earlier one are timed again.
const PROCEDURE: u32 = 2;

/// Untimed replays of one choice.
const WARMUP: usize = 2;

/// Timed replays of one choice, at most.
const REPLAYS: usize = 15;

/// Long replays are repeated less often: until all of them have taken this long together.
const REPLAYS_MS: f64 = 10.0;

/// Timed replays of one choice, at least.
const FEWEST_REPLAYS: usize = 3;

/// A choice is not replayed again if its first replay takes this many times as long as the best choice so far.
const HOPELESS: f64 = 1.4;

/// A first replay that takes less time than this says too little to give up a choice.
const TELLING_MS: f64 = 1.0;

/// Choices per key that are tried again within the whole forward pass, where launches overlap with their neighbours.
const FINALISTS: usize = 4;

/// A choice is tried again only if it took at most this many times as long as the best one.
const FINALISTS_SLACK: f64 = 1.1;

/// A forward pass that takes longer is not tried again as a whole: compared with its kernels, their launches take no
/// time.
const LONG_PASS_MS: f64 = 20.0;

/// A change is accepted only if the whole forward pass gains this fraction. Smaller gains are noise.
const GAIN: f64 = 0.004;

/// The choice for every key of a forward pass.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Choices(BTreeMap<String, Choice>);

impl Choices {
    /// The choice for a key, where there is one.
    pub fn get(&self, key: &str) -> Option<Choice> {
        self.0.get(key).copied()
    }

    /// The same with another choice for one key.
    fn with(&self, key: &str, choice: Choice) -> Self {
        let mut other = self.clone();
        other.0.insert(key.to_owned(), choice);
        other
    }

    /// The groups of a forward pass, in order. A projection is with its attention where there is a choice for both.
    pub fn groups(&self, stages: &Stages) -> Vec<StageGroup> {
        groups_together(stages, |both| self.get(&group_key(stages, both)).is_some())
    }
}

/// The groups with one key, which are executed alike, and the candidates for them.
struct TuningTask {
    key: String,
    groups: Vec<StageGroup>,
    candidates: Vec<Choice>,
}

/// The candidates of every key that work, fastest first, with their times in milliseconds.
type Ranked = BTreeMap<String, Vec<(Choice, f64)>>;

/// What timing needs in addition to the calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing<'a> {
    /// The intermediate tensors. Timing overwrites them with random numbers.
    pub arena: &'a DeviceMemory,
    /// Receives the progress.
    pub progress: &'a ProgressSink,
}

/// Times the choices for `groups` of `placement` on the device, unless an earlier process has cached the result.
///
/// # Errors
/// [`BackendError`] when none of the choices of a group works.
pub(super) fn tune(
    gpu: &GpuRuntime,
    placement: &Placement<'_>,
    groups: &[StageGroup],
    timing: Timing<'_>,
) -> Result<Choices, BackendError> {
    let tasks = tasks(gpu, placement, groups)?;
    let together = tasks_with_attention(placement, groups);
    let cache = ChecksummedFolder::open("tuning").ok();
    let name = name(gpu, tasks.iter().chain(&together))?;
    let known =
        cache.as_ref().and_then(|cache| cache.read(&name)).and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(choices) = known {
        return Ok(choices);
    }
    timing.arena.fill_with_small_numbers()?;
    let tuner = Tuner { gpu, placement };
    // With the kernels of the first task, on all processors. Those of `merge` would be compiled alone, after all others.
    let mut ahead = tuner.entries(together.iter())?;
    let mut ranked = Ranked::new();
    for (index, task) in tasks.iter().enumerate() {
        let phase = "timing kernels".to_owned();
        timing.progress.report(BuildProgress { phase, done: index as u64, total: tasks.len() as u64 });
        ranked.insert(task.key.clone(), tuner.rank(task, std::mem::take(&mut ahead))?);
    }
    let choices = tuner.merge(tuner.refine(&ranked)?, &together, &ranked)?;
    // A cache is a convenience: choices that cannot be cached are timed again by the next process.
    let _ = cache.map(|cache| serde_json::to_vec(&choices).map(|bytes| cache.write(&name, &bytes)));
    Ok(choices)
}

/// Collects the groups by key, with all candidates, including cuBLASLt's algorithms.
fn tasks(gpu: &GpuRuntime, placement: &Placement<'_>, groups: &[StageGroup]) -> Result<Vec<TuningTask>, BackendError> {
    let mut tasks: Vec<TuningTask> = Vec::new();
    for &group in groups {
        let key = group_key(placement.stages, group);
        match tasks.iter_mut().find(|task| task.key == key) {
            Some(task) => task.groups.push(group),
            None => {
                let mut candidates = choices(placement, group);
                if candidates.is_empty() {
                    continue;
                }
                candidates.extend(library_algorithms(gpu, placement, group)?);
                tasks.push(TuningTask { key, groups: vec![group], candidates });
            }
        }
    }
    tasks.retain(|task| task.candidates.len() > 1);
    Ok(tasks)
}

/// Projections with their attention, where some kernel computes both at once.
fn tasks_with_attention(placement: &Placement<'_>, groups: &[StageGroup]) -> Vec<TuningTask> {
    let mut tasks: Vec<TuningTask> = Vec::new();
    for group in groups.iter().filter_map(|&group| with_attention(placement.stages, group)) {
        let key = group_key(placement.stages, group);
        match tasks.iter_mut().find(|task| task.key == key) {
            Some(task) => task.groups.push(group),
            None => tasks.push(TuningTask { key, groups: vec![group], candidates: choices(placement, group) }),
        }
    }
    tasks.retain(|task| !task.candidates.is_empty());
    tasks
}

/// cuBLASLt's algorithms for the product of a group, beyond its first choice.
pub(super) fn library_algorithms(
    gpu: &GpuRuntime,
    placement: &Placement<'_>,
    group: StageGroup,
) -> Result<Vec<Choice>, BackendError> {
    let library = Choice::Product(ProductChoice::Library(None));
    let Some(DeviceCall::Product(product)) = calls(placement, group, Some(library))?.into_iter().next() else {
        return Ok(Vec::new());
    };
    let algorithms = Matmul::new(&product.spec)?.algorithms(&gpu.library, LIBRARY_ALGORITHMS)?;
    // The first one is the library's own choice.
    Ok(algorithms.into_iter().skip(1).map(|one| Choice::Product(ProductChoice::Library(Some(one)))).collect())
}

/// The file name of the cached choices: a digest of everything that decides which choice is fastest.
fn name<'a>(gpu: &GpuRuntime, tasks: impl Iterator<Item = &'a TuningTask>) -> Result<String, BackendError> {
    let (cublaslt, nvrtc) = (libraries::cublaslt().map_err(unavailable)?, libraries::nvrtc().map_err(unavailable)?);
    let mut text = format!(
        "{}\n{} multiprocessors\ncuBLASLt {}\nNVRTC {}\n{}\n{PROCEDURE} {REPLAYS} {REPLAYS_MS} {FEWEST_REPLAYS} {HOPELESS} {FINALISTS} \
         {FINALISTS_SLACK} {LONG_PASS_MS} {GAIN}\n",
        gpu.device.identity(),
        gpu.multiprocessors,
        cublaslt.version,
        nvrtc.version,
        sources_digest(),
    );
    for task in tasks {
        text.push_str(&format!("{} x{} {:?}\n", task.key, task.groups.len(), task.candidates));
    }
    Ok(sha256(text.as_bytes()))
}

struct Tuner<'a> {
    gpu: &'a GpuRuntime,
    placement: &'a Placement<'a>,
}

impl Tuner<'_> {
    /// The candidates of some tasks with their calls.
    fn entries<'a>(
        &self,
        tasks: impl Iterator<Item = &'a TuningTask>,
    ) -> Result<Vec<(Choice, Vec<DeviceCall>)>, BackendError> {
        let candidates = tasks.flat_map(|task| task.candidates.iter().map(move |&choice| (task, choice)));
        candidates
            .map(|(task, choice)| {
                let each = task.groups.iter().map(|&group| calls(self.placement, group, Some(choice)));
                Ok((choice, each.collect::<Result<Vec<_>, _>>()?.concat()))
            })
            .collect()
    }

    /// The candidates that work, fastest first, with their times in milliseconds. The kernels of `ahead` are compiled with
    /// theirs.
    fn rank(
        &self,
        task: &TuningTask,
        ahead: Vec<(Choice, Vec<DeviceCall>)>,
    ) -> Result<Vec<(Choice, f64)>, BackendError> {
        let entries = self.entries(std::iter::once(task))?;
        // All kernels are compiled at once, on all processors. A kernel that is refused only rules out its own choice,
        // below.
        let kernels = entries.iter().chain(&ahead).flat_map(|(_, calls)| calls);
        let mut last_error = self.gpu.load_kernels(kernels).err();
        let mut times = Vec::new();
        let mut best_ms = f64::INFINITY;
        for (choice, calls) in entries {
            match self.time(&calls, best_ms) {
                Ok(ms) => {
                    best_ms = best_ms.min(ms);
                    times.push((choice, ms));
                }
                // A lost device can neither time nor build anything more.
                Err(error @ BackendError::DeviceLost { .. }) => return Err(error),
                Err(error) => last_error = Some(error),
            }
        }
        times.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        match (times.is_empty(), last_error) {
            (true, Some(error)) => Err(error),
            _ => Ok(times),
        }
    }

    /// The fastest candidate of every key, or one of the next where the whole forward pass is faster with it.
    fn refine(&self, ranked: &Ranked) -> Result<Choices, BackendError> {
        let first = |(key, times): (&String, &Vec<(Choice, f64)>)| Some((key.clone(), times.first()?.0));
        Ok(self.improve(Choices(ranked.iter().filter_map(first).collect()), ranked)?.0)
    }

    /// Tries the best candidates of every key within the whole forward pass, one key after the other. Returns the time of the pass
    /// as well, in milliseconds.
    fn improve(&self, mut best: Choices, ranked: &Ranked) -> Result<(Choices, f64), BackendError> {
        let stages = self.placement.stages;
        let used: BTreeSet<String> = best.groups(stages).into_iter().map(|group| group_key(stages, group)).collect();
        let first_ms = self.time(&self.whole(&best)?, f64::INFINITY)?;
        let mut best_ms = first_ms;
        for (key, times) in ranked.iter().filter(|(key, _)| first_ms <= LONG_PASS_MS && used.contains(*key)) {
            let limit_ms = times.first().map_or(0.0, |(_, ms)| ms * FINALISTS_SLACK);
            let given = best.get(key);
            let finalists =
                times.iter().take(FINALISTS).filter(|(choice, ms)| Some(*choice) != given && *ms <= limit_ms);
            for &(choice, _) in finalists {
                let other = best.with(key, choice);
                let ms = self.time(&self.whole(&other)?, best_ms)?;
                if ms < best_ms * (1.0 - GAIN) {
                    (best, best_ms) = (other, ms);
                }
            }
        }
        Ok((best, best_ms))
    }

    /// Tries one kernel for a projection and its attention in the place of the two, within the whole forward pass: alone they
    /// would not show what a launch less is worth. The kernels beside it were chosen beside the two; where it nearly pays, they are
    /// chosen anew, since how much of a multiprocessor it leaves them is another matter.
    fn merge(&self, mut best: Choices, tasks: &[TuningTask], ranked: &Ranked) -> Result<Choices, BackendError> {
        for task in tasks {
            let best_ms = self.time(&self.whole(&best)?, f64::INFINITY)?;
            let mut fastest: Option<(Choices, f64)> = None;
            for &choice in &task.candidates {
                let other = best.with(&task.key, choice);
                match self.time(&self.whole(&other)?, best_ms) {
                    Ok(ms) if fastest.as_ref().is_none_or(|(_, fastest_ms)| ms < *fastest_ms) => {
                        fastest = Some((other, ms));
                    }
                    // A kernel that is refused only rules itself out.
                    Err(error @ BackendError::DeviceLost { .. }) => return Err(error),
                    Ok(_) | Err(_) => {}
                }
            }
            let Some((other, _)) = fastest.filter(|(_, ms)| *ms < best_ms * FINALISTS_SLACK) else { continue };
            let (other, ms) = self.improve(other, ranked)?;
            if ms < best_ms * (1.0 - GAIN) {
                best = other;
            }
        }
        Ok(best)
    }

    fn whole(&self, choices: &Choices) -> Result<Vec<DeviceCall>, BackendError> {
        let stages = self.placement.stages;
        let groups = choices.groups(stages).into_iter();
        let each = groups.map(|group| calls(self.placement, group, choices.get(&group_key(stages, group))));
        Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// Median time of a replay of `calls`, milliseconds. If the first replay shows that the choice cannot be the best,
    /// it is the time of that replay.
    fn time(&self, calls: &[DeviceCall], best_ms: f64) -> Result<f64, BackendError> {
        let gpu = self.gpu;
        let prepared = gpu.prepare(calls)?;
        gpu.enqueue(&prepared)?;
        gpu.stream.synchronize().map_err(failed)?;
        let graph = capture(&gpu.stream, || gpu.enqueue(&prepared), failed)?;
        let replay = || graph.launch().map_err(failed);
        let first_ms = gpu.median_ms(0, 1, replay)?;
        if first_ms > TELLING_MS && first_ms > best_ms * HOPELESS {
            return Ok(first_ms);
        }
        let replays = ((REPLAYS_MS / first_ms) as usize).clamp(FEWEST_REPLAYS, REPLAYS);
        gpu.median_ms(if replays < REPLAYS { 0 } else { WARMUP }, replays, replay)
    }
}
