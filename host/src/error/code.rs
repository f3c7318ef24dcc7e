//! The stable codes of errors: what messages, documents and scripts know them by.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Declares the codes, each with the text that users see.
macro_rules! codes {
    ($($name:ident = $text:literal,)*) => {
        /// What kind of error it is, as `area/fault`.
        #[allow(missing_docs)] // the text says it
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code { $(#[serde(rename = $text)] $name,)* }

        impl Code {
            /// All of them, sorted by their texts.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As users see it, `area/fault`. It never changes its meaning.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    BenchData = "bench/data",
    BenchOptions = "bench/options",
    BenchScratch = "bench/scratch",
    BenchStage = "bench/stage",
    BenchSteps = "bench/steps",
    CliInput = "cli/input",
    CliOutput = "cli/output",
    CliSampling = "cli/sampling",
    CompareFailed = "compare/failed",
    ConfigDevice = "config/device",
    ConfigEval = "config/eval",
    ConfigInvalid = "config/invalid",
    ConfigModel = "config/model",
    ConfigRegex = "config/regex",
    ConfigSet = "config/set",
    ConfigSyntax = "config/syntax",
    ConfigThreads = "config/threads",
    ConfigTrain = "config/train",
    ConfigValidate = "config/validate",
    ConfigWrite = "config/write",
    DataChanged = "data/changed",
    DataEmpty = "data/empty",
    DataJson = "data/json",
    DataLength = "data/length",
    DataPacked = "data/packed",
    DataParquet = "data/parquet",
    DataRow = "data/row",
    DataShape = "data/shape",
    DataTokens = "data/tokens",
    EngineTensor = "engine/tensor",
    EstimateMemory = "estimate/memory",
    EvalAnswers = "eval/answers",
    EvalChanged = "eval/changed",
    EvalChoice = "eval/choice",
    EvalFeature = "eval/feature",
    EvalJudge = "eval/judge",
    EvalManifest = "eval/manifest",
    EvalModelId = "eval/model-id",
    EvalNonFinite = "eval/non-finite",
    FileIo = "file/io",
    FileJournal = "file/journal",
    FileTaken = "file/taken",
    FileTensors = "file/tensors",
    FileVerify = "file/verify",
    GenerateEmpty = "generate/empty",
    GenerateLength = "generate/length",
    GenerateLogits = "generate/logits",
    GenerateOptions = "generate/options",
    GenerateSlots = "generate/slots",
    GgufArchitecture = "gguf/architecture",
    GgufFormat = "gguf/format",
    GgufKey = "gguf/key",
    GgufTensor = "gguf/tensor",
    GgufTokenizer = "gguf/tokenizer",
    HubDownload = "hub/download",
    HubFeature = "hub/feature",
    HubId = "hub/id",
    HubMissing = "hub/missing",
    ImportOutput = "import/output",
    MergeAdapter = "merge/adapter",
    MergeOutput = "merge/output",
    ModelAdapterBase = "model/adapter-base",
    ModelCache = "model/cache",
    ModelConfig = "model/config",
    ModelDirectory = "model/directory",
    ModelLayer = "model/layer",
    ModelLora = "model/lora",
    ModelMerge = "model/merge",
    ModelPack = "model/pack",
    ModelTensor = "model/tensor",
    ModelToken = "model/token",
    ModelUnsupported = "model/unsupported",
    ModelVocabulary = "model/vocabulary",
    ModelWeights = "model/weights",
    PluginBench = "plugin/bench",
    PluginCheck = "plugin/check",
    PluginDescriptors = "plugin/descriptors",
    PluginExit = "plugin/exit",
    PluginFailed = "plugin/failed",
    PluginFile = "plugin/file",
    PluginFind = "plugin/find",
    PluginHiddenStates = "plugin/hidden-states",
    PluginLatents = "plugin/latents",
    PluginLayout = "plugin/layout",
    PluginLoad = "plugin/load",
    PluginMemory = "plugin/memory",
    PluginNew = "plugin/new",
    PluginNoModel = "plugin/no-model",
    PluginOptions = "plugin/options",
    PluginOutput = "plugin/output",
    PluginPanic = "plugin/panic",
    PluginProbe = "plugin/probe",
    PluginRefused = "plugin/refused",
    PluginThreads = "plugin/threads",
    PluginTimeout = "plugin/timeout",
    PluginUnsupported = "plugin/unsupported",
    PluginUntrusted = "plugin/untrusted",
    ReportLatents = "report/latents",
    ReportRunDir = "report/run-dir",
    RunChanged = "run/changed",
    RunDamaged = "run/damaged",
    RunInterrupted = "run/interrupted",
    RunLatents = "run/latents",
    RunLocked = "run/locked",
    RunManifest = "run/manifest",
    RunPairs = "run/pairs",
    ShareHome = "share/home",
    ShareKey = "share/key",
    ShareLock = "share/lock",
    SharePackage = "share/package",
    ShareRegistry = "share/registry",
    ShareResolve = "share/resolve",
    ShareSignature = "share/signature",
    ShareSize = "share/size",
    ShareStore = "share/store",
    ShareTrust = "share/trust",
    ShareVerify = "share/verify",
    TextBos = "text/bos",
    TextDecode = "text/decode",
    TextEmpty = "text/empty",
    TextEncode = "text/encode",
    TextEnd = "text/end",
    TextPrefix = "text/prefix",
    TextRendered = "text/rendered",
    TextTemplate = "text/template",
    TextTokenizer = "text/tokenizer",
    TrainCheckpoint = "train/checkpoint",
    TrainDiskFull = "train/disk-full",
    TrainGradient = "train/gradient",
    TrainNonFinite = "train/non-finite",
    TrainRow = "train/row",
    TrainRows = "train/rows",
    TrainWeights = "train/weights",
    ValidateLabels = "validate/labels",
    ValidateLatents = "validate/latents",
    ValidateRule = "validate/rule",
    ValidateSamples = "validate/samples",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_told_apart() {
        assert!(Code::ALL.is_sorted_by(|a, b| a.as_str() < b.as_str()));
    }
}
