//! Where checkpoints of a hub are kept on this machine.

use std::path::{Path, PathBuf};

/// Where fetched hub checkpoints are kept, relative to the manifest's folder: `OWNER--NAME/REVISION` below it.
const HUB_FOLDER: &str = "../runs/hub";

/// The weights.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// The files a checkpoint folder is read from.
pub const CHECKPOINT_FILES: [&str; 3] = ["config.json", WEIGHTS_FILE, "tokenizer.json"];

/// What `mixprec fetch` found out about the files of a fetched folder, beside them.
pub const DIGESTS_FILE: &str = "digests.json";

/// End of the names of what is not complete.
pub const PART_SUFFIX: &str = ".part";

/// The folder of a hub checkpoint for a manifest in `base_dir`. A folder that exists is a fetched checkpoint.
pub fn hub_folder(base_dir: &Path, repository: &str, revision: &str) -> PathBuf {
    base_dir.join(HUB_FOLDER).join(repository.replace('/', "--")).join(revision)
}

/// The sentence that `plan` and `run` print where random weights stand in.
pub fn stand_in_notice(model: &str, repository: &str) -> String {
    format!(
        "{model}: random weights stand in for {repository}, which has not been fetched (`mixprec fetch` on this manifest)"
    )
}
