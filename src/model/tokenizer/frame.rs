//! The tokens that a class of transformers 5 puts around a text and between two; `tokenizer.json` decides for GPT-2 and ALBERT alone.

use tokenizers::Model;
use tokenizers::PostProcessorWrapper;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::processors::template::TemplateProcessing;

use super::class::TokenizerClass;
use super::document::none;
use super::settings::TokenizerSettings;
use crate::model::ModelError;

/// Puts the tokens of the class around texts. `has_document`: the vocabulary comes with a `tokenizer.json`, beside which
/// `add_bos_token` and `add_eos_token` mean nothing.
///
/// # Errors
/// [`ModelError::Tokenizer`] where the tokens cannot be put into a template.
pub(super) fn frame(
    tokenizer: &mut tokenizers::Tokenizer,
    settings: &TokenizerSettings,
    has_document: bool,
) -> Result<(), ModelError> {
    let processor: PostProcessorWrapper = match settings.class {
        TokenizerClass::General => return Ok(()),
        TokenizerClass::Gpt2 if has_document => return Ok(()),
        TokenizerClass::Gpt2 => begun_and_ended(tokenizer, settings)?.into(),
        TokenizerClass::Bert => classified(tokenizer, settings)?.into(),
        TokenizerClass::Roberta => {
            let token = |name| wanted(settings, name, |token| tokenizer.token_to_id(token));
            let prefix = settings.flag("add_prefix_space", false)?;
            RobertaProcessing::new(token("sep_token")?, token("cls_token")?).add_prefix_space(prefix).into()
        }
        TokenizerClass::XlmRoberta | TokenizerClass::Camembert => {
            let token = |name| wanted(settings, name, |token| tokenizer.token_to_id(token));
            let (first, last) = (token("bos_token")?, token("eos_token")?);
            let single = [&first.0, "$A", &last.0];
            let pair = [&single[..], &[&last.0, "$B", &last.0]].concat();
            let template =
                Template { single: owned(&single), pair: owned(&pair), special: vec![first.clone(), last.clone()] };
            template.build(settings, "bos_token or eos_token")?.into()
        }
        TokenizerClass::Albert => {
            // The names are the class's own, the ids those of the settings' tokens in the vocabulary.
            let id = |name| wanted(settings, name, |token| tokenizer.get_model().token_to_id(token));
            let special = vec![("[CLS]".to_owned(), id("cls_token")?.1), ("[SEP]".to_owned(), id("sep_token")?.1)];
            let single = ["[CLS]:0", "$A:0", "[SEP]:0"];
            let pair = [&single[..], &["$B:1", "[SEP]:1"]].concat();
            let template = Template { single: owned(&single), pair: owned(&pair), special };
            let template = template.build(settings, "cls_token or sep_token")?;
            if tokenizer.get_post_processor().is_some() {
                return Ok(()); // The file's replaces it.
            }
            template.into()
        }
    };
    tokenizer.with_post_processor(Some(processor));
    Ok(())
}

/// What stands around one text and around two, and the ids of the tokens in it.
struct Template {
    single: Vec<String>,
    pair: Vec<String>,
    special: Vec<(String, u32)>,
}

impl Template {
    fn build(self, settings: &TokenizerSettings, keys: &str) -> Result<TemplateProcessing, ModelError> {
        TemplateProcessing::builder()
            .try_single(self.single)
            .and_then(|builder| builder.try_pair(self.pair))
            .map_err(|error| settings.refused(keys, &error))?
            .special_tokens(self.special)
            .build()
            .map_err(|error| settings.refused(keys, &error.to_string()))
    }
}

/// BERT's.
fn classified(
    tokenizer: &tokenizers::Tokenizer,
    settings: &TokenizerSettings,
) -> Result<TemplateProcessing, ModelError> {
    // transformers spells an absent token `None`, and gives it the id of Google's vocabularies in its own order.
    let marker = |name: &str, absent: u32| {
        let Some(token) = settings.special_token(name)? else { return Ok((none(), absent)) };
        let id = tokenizer.token_to_id(&token).unwrap_or(absent);
        Ok::<_, ModelError>((token, id))
    };
    let (first, last) = (marker("cls_token", 2)?, marker("sep_token", 3)?);
    let single = format!("{}:0 $A:0 {}:0", first.0, last.0);
    let pair = format!("{single} $B:1 {}:1", last.0);
    let parts = |text: &str| text.split(' ').map(str::to_owned).collect();
    let template = Template { single: parts(&single), pair: parts(&pair), special: vec![first, last] };
    template.build(settings, "cls_token or sep_token")
}

/// GPT-2's and OPT's, where no `tokenizer.json` says them.
fn begun_and_ended(
    tokenizer: &tokenizers::Tokenizer,
    settings: &TokenizerSettings,
) -> Result<TemplateProcessing, ModelError> {
    let wanted = |key: &str, name: &str| {
        let token = if settings.flag(key, false)? { settings.special_token(name)? } else { None };
        Ok::<_, ModelError>(token.map(|token| (token.clone(), tokenizer.token_to_id(&token).unwrap_or_default())))
    };
    let (first, last) = (wanted("add_bos_token", "bos_token")?, wanted("add_eos_token", "eos_token")?);
    let around = |text: &str, kind: u32| {
        let typed = |token: &Option<(String, u32)>| token.as_ref().map(|(token, _)| format!("{token}:{kind}"));
        [typed(&first), Some(format!("{text}:{kind}")), typed(&last)].into_iter().flatten().collect::<Vec<_>>()
    };
    let (single, second) = (around("$A", 0), around("$B", 1));
    let pair = [single.clone(), second].concat();
    let template = Template { single, pair, special: first.clone().into_iter().chain(last.clone()).collect() };
    template.build(settings, "bos_token or eos_token")
}

/// A token that the class cannot do without, with its id.
fn wanted(
    settings: &TokenizerSettings,
    name: &str,
    id: impl Fn(&str) -> Option<u32>,
) -> Result<(String, u32), ModelError> {
    let token = settings.special_token(name)?;
    let found = token.and_then(|token| id(&token).map(|id| (token, id)));
    found.ok_or_else(|| {
        let class = settings.class.name();
        settings.refused(name, &format!("{class} needs it, a token of the vocabulary; correct the key or remove it"))
    })
}

fn owned(parts: &[&str]) -> Vec<String> {
    parts.iter().map(|&part| part.to_owned()).collect()
}
