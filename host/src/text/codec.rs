//! The codec: prompts and turns to token ids and back.

use super::{
    Message, Prompt, TextFiles, classes, faithful,
    guarded::guarded,
    oniguruma,
    special::{SpecialTokens, add_tokens},
    template::ChatTemplate,
};
use crate::{Code, Error, Result, files};
use serde_json::Value;
use std::path::Path;
use tokenizers::{
    DecodeStream, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer,
};

/// Token ids of a prompt and of one response to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedTurn {
    /// Ends with the template's generation prompt.
    pub prompt: Vec<u32>,
    /// Ends with the model's end-of-turn token.
    pub response: Vec<u32>,
}

/// A model's tokenizer with its chat template.
///
/// With a template, text is what the template renders, and no special token is added to it. Without one, it is the
/// messages' contents end to end, after the tokens that the tokenizer itself puts before a text (BOS, or nothing),
/// and a response ends with the tokenizer's EOS.
pub struct TextCodec {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    special: SpecialTokens,
    /// What the tokenizer puts before a text by itself.
    opening: Vec<u32>,
    vocab_size: usize,
    hash: String,
}

impl TextCodec {
    /// Reads tokenizer.json, tokenizer_config.json, chat_template.jinja, generation_config.json of a model directory.
    pub fn load(model_dir: &Path) -> Result<Self> {
        let files = TextFiles::Directory(model_dir.to_owned());
        Self::load_from(&files, &files)
    }

    /// The same from wherever these files lie; of an adapter, whose base has what the adapter has not: config.json, and
    /// generation_config.json where there is none beside the tokenizer.
    pub fn load_from(model: &TextFiles, base: &TextFiles) -> Result<Self> {
        let path = model.path("tokenizer.json");
        if model.find("tokenizer.json")?.is_none() && model.place().is_dir() {
            let what = format!("there is no tokenizer.json in {}", model.place().display());
            return Err(Error::new(Code::TextTokenizer, what).hint(
                "other files of tokenizers (vocab.json, merges.txt, tokenizer.model, ...) are not read: transformers' \
                 AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR) makes one of them",
            ));
        }
        let bytes = model.read("tokenizer.json")?;
        let unreadable = |e: tokenizers::Error| {
            Error::new(Code::TextTokenizer, format!("{} is not a tokenizer that can be read", path.display()))
                .hint(
                    "tokenizer.json is written by transformers' save_pretrained; copy it from the model's source again",
                )
                .caused_by(e.to_string())
        };
        let mut tokenizer = guarded(|| Tokenizer::from_bytes(&bytes)).map_err(unreadable)?;
        let config = model.object("tokenizer_config.json")?.unwrap_or_default();
        let model_config = base.object("config.json")?.unwrap_or_default();
        if let Some(otherwise) = classes::otherwise(&tokenizer, &bytes, [&config, &model_config]) {
            tracing::warn!("{}: {otherwise}", model.place().display());
        }
        read_patterns(&mut tokenizer, &bytes).map_err(|e| e.at(path.display()))?;
        // Lengths are the host's business; many files carry the settings of their training.
        tokenizer.with_truncation(None).map_err(unreadable)?.with_padding(None);
        let special = SpecialTokens::read(model, base, &tokenizer)?;
        add_tokens(&mut tokenizer, &config, &special).map_err(|e| e.at(model.place().display()))?;
        let template = ChatTemplate::load(model, &special)?;
        let source = template.as_ref().map_or("", |t| &t.source);
        let parts = [files::sha256(&bytes), files::sha256(source.as_bytes()), special.fingerprint()];
        let mut codec = Self {
            vocab_size: tokenizer.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1),
            opening: Vec::new(),
            hash: files::sha256(parts.join("\n").as_bytes()),
            tokenizer,
            template,
            special,
        };
        codec.opening = codec.read_opening()?;
        Ok(codec)
    }
    /// SHA-256 over tokenizer, template and special tokens.
    pub fn hash(&self) -> &str {
        &self.hash
    }
    /// One more than the largest token id, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }
    /// Whether texts with tokens that the model does not know are refused, one by one: where config.json says how many
    /// it knows.
    pub fn knows_model(&self) -> bool {
        self.special.model_vocab.is_some()
    }
    /// Tokens that end a response: those of generation_config.json, config.json and the tokenizer's EOS, ascending.
    pub fn end_ids(&self) -> &[u32] {
        &self.special.end_ids
    }

    /// The prompt as text, with the generation prompt.
    ///
    /// Fails where the template does not read what a message or the prompt has beside its texts, or where a text was
    /// rendered already.
    pub fn render_prompt(&self, prompt: &Prompt) -> Result<String> {
        faithful::check_prompt(self.template.as_ref(), prompt)?;
        match &self.template {
            Some(template) => template.render(prompt, None, &self.special),
            None => Ok(prompt.messages.iter().map(Message::text).collect()),
        }
    }

    /// Ids of the prompt, ending with the generation prompt.
    pub fn encode_prompt(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        self.prompt_ids(&self.render_prompt(prompt)?)
    }

    /// Ids of prompt and golden response; fails where the template's rendering of the prompt is not a prefix of the
    /// whole.
    ///
    /// The prompt's ids are those of [`encode_prompt`](Self::encode_prompt), from which a model will generate. Where
    /// tokenizing both as one text begins with these ids, the response is the rest; where a token would span the
    /// border, the response is tokenized on its own. What a template adds after the end token is left out.
    pub fn encode_turn(&self, replied_to: &Prompt, response: &Message) -> Result<EncodedTurn> {
        let prompt = self.render_prompt(replied_to)?;
        let prompt_ids = self.prompt_ids(&prompt)?;
        let ends = self.end_ids().iter().map(|id| self.token_text(*id));
        faithful::check_response(self.template.as_ref(), response, ends)?;
        let Some(template) = &self.template else {
            let eos = self.special.eos.ok_or_else(|| {
                Error::new(Code::TextEnd, "the model names no end token: a response cannot be ended")
                    .hint("set eos_token in tokenizer_config.json")
            })?;
            let mut response = self.continuation(&prompt, response.text())?;
            response.push(eos);
            return Ok(EncodedTurn { prompt: prompt_ids, response });
        };
        let whole = template.render(replied_to, Some(response), &self.special)?;
        let Some(completion) = whole.strip_prefix(&prompt) else {
            return Err(no_prefix(&prompt, &whole));
        };
        let response = self.continuation(&prompt, completion.trim_end())?;
        match response.last() {
            Some(last) if self.end_ids().contains(last) => Ok(EncodedTurn { prompt: prompt_ids, response }),
            last => {
                let last = last.map_or("nothing".into(), |id| format!("token {id} `{}`", self.token_text(*id)));
                let ends: Vec<String> = self.end_ids().iter().map(|id| self.token_text(*id)).collect();
                let message = format!("the chat template ends the response {completion:?} with {last}, no end token");
                Err(Error::new(Code::TextEnd, message).hint(format!(
                    "the model would never learn to stop: end tokens are [{}]; add the template's own to eos_token_id \
                     in generation_config.json",
                    ends.join(", ")
                )))
            }
        }
    }

    /// Ids of a prompt and of a text in reply to it, with no end token.
    pub fn encode_reply(&self, prompt: &Prompt, text: &str) -> Result<EncodedTurn> {
        let prompt = self.render_prompt(prompt)?;
        Ok(EncodedTurn { prompt: self.prompt_ids(&prompt)?, response: self.continuation(&prompt, text)? })
    }

    /// Ids of a plain text, as the tokenizer opens one, and of its continuation; a template has no part in it.
    pub fn encode_plain(&self, text: &str, continuation: &str) -> Result<EncodedTurn> {
        Ok(EncodedTurn {
            prompt: self.ids_after(&self.opening, text)?,
            response: self.continuation(text, continuation)?,
        })
    }

    /// Text of ids, special tokens left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        guarded(|| self.tokenizer.decode(ids, true)).map_err(decode_error)
    }

    /// Decodes a response token by token, as `chat` shows it.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream(self.tokenizer.decode_stream(true))
    }

    /// One token as it stands in the vocabulary's text, special tokens shown, for `check`.
    pub fn token_text(&self, id: u32) -> String {
        let Some(token) = self.tokenizer.id_to_token(id) else { return format!("<{id}>") };
        match guarded(|| self.tokenizer.decode(&[id], false)) {
            // A piece of a character decodes to a replacement sign: its vocabulary entry says more.
            Ok(text) if !text.is_empty() && !text.contains('\u{FFFD}') => text,
            _ => token,
        }
    }

    fn prompt_ids(&self, rendered: &str) -> Result<Vec<u32>> {
        // What a template renders begins as it should.
        self.ids_after(if self.template.is_some() { &[] } else { &self.opening }, rendered)
    }

    fn ids_after(&self, opening: &[u32], rendered: &str) -> Result<Vec<u32>> {
        let ids = [opening, &self.encode(rendered, false)?].concat();
        if let (Some(bos), [first, second, ..]) = (self.special.bos, &ids[..])
            && *first == bos
            && *second == bos
        {
            let text: String = rendered.chars().take(40).collect();
            let message = format!("the prompt begins with `{}` twice: {text:?}", self.token_text(bos));
            return Err(
                Error::new(Code::TextBos, message).hint("remove it from the texts: template or tokenizer adds it")
            );
        }
        if ids.is_empty() {
            return Err(
                Error::new(Code::TextEmpty, "the prompt has no tokens").hint("give a prompt, or a chat template")
            );
        }
        Ok(ids)
    }

    /// Ids of `text` as they come after `before`.
    fn continuation(&self, before: &str, text: &str) -> Result<Vec<u32>> {
        // A neutral line break stands in where a token spans the border, because some tokenizers
        // (SentencePiece) put a space before any text that begins on its own.
        for anchor in [before, "\n"] {
            let (head, mut whole) = (self.encode(anchor, false)?, self.encode(&[anchor, text].concat(), false)?);
            if whole.starts_with(&head) {
                return Ok(whole.split_off(head.len()));
            }
        }
        self.encode(text, false)
    }

    fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        let fail =
            |e: tokenizers::Error| Error::new(Code::TextEncode, "text cannot be tokenized").caused_by(e.to_string());
        let ids = guarded(|| self.tokenizer.encode_fast(text, special)).map_err(fail)?.get_ids().to_vec();
        match ids.iter().find(|id| self.special.model_vocab.is_some_and(|size| **id as usize >= size)) {
            Some(id) => {
                let what = format!("the text has token {id} `{}`, which the model does not know", self.token_text(*id));
                Err(Error::new(Code::ModelVocabulary, what)
                    .hint("remove it from the texts; or tokenizer and weights are not of one model"))
            }
            None => Ok(ids),
        }
    }

    /// The tokens that the tokenizer's post-processor puts before a text.
    fn read_opening(&self) -> Result<Vec<u32>> {
        let (mut with, without) = (self.encode("a", true)?, self.encode("a", false)?);
        let at = with.windows(without.len().max(1)).position(|w| w == without).unwrap_or(0);
        with.truncate(at);
        Ok(with)
    }
}

/// Gives the tokenizer's parts their patterns as Oniguruma reads them.
fn read_patterns(tokenizer: &mut Tokenizer, bytes: &[u8]) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Parts {
        #[serde(default)]
        normalizer: Value,
        #[serde(default)]
        pre_tokenizer: Value,
        #[serde(default)]
        decoder: Value,
    }
    let unreadable = |e: String| Error::new(Code::TextTokenizer, "a pattern cannot be read").caused_by(e);
    let fail = |e: serde_json::Error| unreadable(e.to_string());
    let Parts { mut normalizer, mut pre_tokenizer, mut decoder } = serde_json::from_slice(bytes).map_err(fail)?;
    if oniguruma::rewrite(&mut normalizer)? {
        let normalizer: NormalizerWrapper = serde_json::from_value(normalizer).map_err(fail)?;
        tokenizer.with_normalizer(Some(normalizer)).map_err(|e| unreadable(e.to_string()))?;
    }
    if oniguruma::rewrite(&mut pre_tokenizer)? {
        tokenizer.with_pre_tokenizer(Some(serde_json::from_value::<PreTokenizerWrapper>(pre_tokenizer).map_err(fail)?));
    }
    if oniguruma::rewrite(&mut decoder)? {
        tokenizer.with_decoder(Some(serde_json::from_value::<DecoderWrapper>(decoder).map_err(fail)?));
    }
    Ok(())
}

fn decode_error(e: tokenizers::Error) -> Error {
    Error::new(Code::TextDecode, "tokens cannot be decoded").caused_by(e.to_string())
}

/// Text of tokens as they come: whole characters only, special tokens left out.
pub struct TextStream<'a>(
    DecodeStream<'a, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>,
);

impl TextStream<'_> {
    /// Takes the next token and returns the text that is complete with it; nothing in the middle of a character.
    pub fn push(&mut self, id: u32) -> Result<String> {
        let text = guarded(|| self.0.step(id)).map_err(decode_error)?;
        Ok(text.unwrap_or_default())
    }
}

/// The template's two renderings disagree; shows where.
fn no_prefix(prompt: &str, whole: &str) -> Error {
    let same = prompt.chars().zip(whole.chars()).take_while(|(a, b)| a == b).count();
    let around = |text: &str| text.chars().skip(same.saturating_sub(40)).take(120).collect::<String>();
    let message = format!(
        "the chat template renders the prompt differently when a response follows: after {same} equal characters the \
         prompt reads {:?}, the whole {:?}",
        around(prompt),
        around(whole)
    );
    Error::new(Code::TextPrefix, message).hint(
        "training and generation would see different prompts: use a template whose prompt with add_generation_prompt \
         is the beginning of the whole conversation (chat_template.jinja beside the model overrides the model's own)",
    )
}
