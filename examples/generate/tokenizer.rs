//! Text to tokens and back.

use std::path::Path;

use shimmytok::{TokenType, Tokenizer as Pieces};

use crate::Result;

/// The tokenizer that a GGUF file holds.
pub(crate) struct Tokenizer {
    pieces: Pieces,
    /// Texts that are one token wherever they occur (runs of blanks, tags of HTML), the longest first.
    whole: Vec<(String, u32)>,
}

impl Tokenizer {
    /// Reads it from the file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let pieces = Pieces::from_gguf_file(path)?;
        let tokens = (0..pieces.vocab_size() as u32).filter(|&id| pieces.token_type(id) == TokenType::UserDefined);
        let mut whole = tokens.map(|id| Ok((pieces.token_to_piece(id)?, id))).collect::<Result<Vec<_>>>()?;
        whole.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        Ok(Self { pieces, whole })
    }

    /// The tokens of a text, after the token that starts a sequence.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = vec![self.pieces.bos_token()];
        let mut start = 0;
        let mut place = 0;
        while let Some(rest) = text.get(place..).filter(|rest| !rest.is_empty()) {
            match self.whole.iter().find(|(piece, _)| rest.starts_with(piece.as_str())) {
                Some((piece, id)) => {
                    ids.extend(self.encode_part(&text[start..place])?);
                    ids.push(*id);
                    place += piece.len();
                    start = place;
                }
                None => place += rest.chars().next().map_or(1, char::len_utf8),
            }
        }
        ids.extend(self.encode_part(&text[start..])?);
        Ok(ids)
    }

    fn encode_part(&self, text: &str) -> Result<Vec<u32>> {
        Ok(if text.is_empty() { Vec::new() } else { self.pieces.encode(text, false)? })
    }

    /// The text of tokens, without those that only control. Bytes that are not UTF-8 become U+FFFD.
    pub(crate) fn decode(&self, ids: &[u32]) -> Result<String> {
        Ok(self.pieces.decode(ids, true)?)
    }

    /// Number of tokens there are.
    pub(crate) fn len(&self) -> usize {
        self.pieces.vocab_size()
    }

    /// The token that ends a text.
    pub(crate) fn end(&self) -> u32 {
        self.pieces.eos_token()
    }

    /// Text token by token, after those of a prompt.
    pub(crate) fn stream(&self, prompt: &[u32]) -> Result<Stream<'_>> {
        Ok(Stream { tokenizer: self, ids: prompt.to_vec(), shown: self.decode(prompt)?.len() })
    }
}

/// The text of tokens that come one by one.
pub(crate) struct Stream<'a> {
    tokenizer: &'a Tokenizer,
    ids: Vec<u32>,
    /// Bytes of their text that were given out.
    shown: usize,
}

impl Stream<'_> {
    /// What a token adds: nothing as long as a character lacks bytes.
    pub(crate) fn next(&mut self, id: u32) -> Result<String> {
        self.ids.push(id);
        let text = self.tokenizer.decode(&self.ids)?;
        if text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        let new = text.get(self.shown..).unwrap_or_default().to_owned();
        self.shown = text.len();
        Ok(new)
    }
}
