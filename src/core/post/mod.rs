//! A post office: letters that take effect at their receivers once, and whose fate can be asked for.

use alloc::string::String;
use core::ops::Bound;

use bytes::Bytes;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::codec::{self, ByteReader, ByteWriter};
use crate::collections::PersistentMap;
use crate::kernel::{
    ApplyContext, ChrApplication, Chunk, Cursor, Event, QueryContext, Retry, Schema, SideEffect,
    SideEffectError, SideEffectId, SideEffectOutcome,
};
use crate::types::{Blob, GroupInit, u64_of, usize_of};

/// What a client asks of the post office; the body of its command is `codec::encode` of this.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum PostCommand {
    /// Post a letter.
    Send {
        /// Who receives it: a URL, where it is posted by HTTP.
        target: String,
        /// What it says.
        body: Blob,
        /// How often it is tried.
        retry: Retry,
    },
}

/// What the post office answers.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum PostAnswer {
    /// The letter is under way.
    Sent {
        /// Names it.
        letter: SideEffectId,
    },
}

/// Why the post office refuses.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode, thiserror::Error)]
#[bincode(crate = "crate::codec::wire")]
pub enum PostError {
    /// The body is not a command of the post office.
    #[error("not a command of a post office")]
    Malformed,
    /// The letter is none.
    #[error("{0}")]
    Letter(String),
}

/// A letter and its fate.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum Letter {
    /// It is being delivered.
    UnderWay,
    /// Its receiver has it.
    Delivered {
        /// What the receiver answered.
        answer: Blob,
    },
    /// It is tried no more; an attempt that is still on its way may arrive all the same.
    GivenUp {
        /// Attempts that were made.
        attempts: u32,
        /// What was said last.
        why: Blob,
    },
}

/// The application. It holds nothing itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Post;

/// The letters: all that are under way, and as many others as are kept.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PostState {
    /// By number, in the order in which they were posted.
    letters: PersistentMap<u64, (SideEffectId, Letter)>,
    numbers: PersistentMap<SideEffectId, u64>,
    /// Those whose fate is known.
    ended: PersistentMap<u64, ()>,
}

impl ChrApplication for Post {
    const SCHEMA: Schema = Schema(1);
    type State = PostState;
    type QueryRequest = SideEffectId;
    type QueryResponse = Option<Letter>;
    type Error = PostError;

    fn genesis(&self, _group: &GroupInit) -> PostState {
        PostState::default()
    }

    fn apply(
        &self,
        state: &mut PostState,
        event: Event<'_>,
        ctx: &mut ApplyContext<'_>,
    ) -> Result<Bytes, PostError> {
        match event {
            Event::Command(body) => {
                let PostCommand::Send { target, body, retry } =
                    codec::decode(body).map_err(|_| PostError::Malformed)?;
                let side_effect = SideEffect::new(target, body, retry)?;
                let letter = ctx.emit(side_effect);
                state.put(state.next_number(), letter, Letter::UnderWay);
                Ok(Bytes::from(codec::encode(&PostAnswer::Sent { letter })))
            }
            Event::SideEffect { id, outcome } => {
                state.end(id, outcome);
                Ok(Bytes::new())
            }
            Event::Wakeup => Err(PostError::Malformed),
        }
    }

    fn query(&self, state: &PostState, letter: SideEffectId, _ctx: &mut QueryContext) -> Option<Letter> {
        state.letter(letter).cloned()
    }

    fn snapshot(&self, state: &PostState, from: Cursor, out: &mut Chunk) -> Option<Cursor> {
        let after = from.get::<u64>();
        let mut rest = state.letters.range(after.as_ref().map_or(Bound::Unbounded, Bound::Excluded));
        let mut writer = ByteWriter::default();
        let mut last = None;
        while writer.as_slice().len() < SLICE_BYTES
            && let Some((number, letter)) = rest.next()
        {
            let letter = codec::encode(letter);
            writer.u64(*number).u64(u64_of(letter.len())).put(&letter);
            last = Some(*number);
        }
        out.extend_from_slice(writer.as_slice());
        rest.next().and(last).map(|number| Cursor::after(&number))
    }

    fn restore(&self, state: &mut PostState, _from: Schema, chunk: &[u8]) -> Result<(), PostError> {
        let mut reader = ByteReader::new(chunk);
        while !reader.rest().is_empty() {
            let number = reader.u64().map_err(|_| PostError::Malformed)?;
            let length = reader.u64().map_err(|_| PostError::Malformed)?;
            let letter = reader.take(usize_of(length)).map_err(|_| PostError::Malformed)?;
            let (id, letter) = codec::decode(letter).map_err(|_| PostError::Malformed)?;
            state.put(number, id, letter);
        }
        Ok(())
    }
}

impl From<SideEffectError> for PostError {
    fn from(error: SideEffectError) -> Self {
        Self::Letter(alloc::string::ToString::to_string(&error))
    }
}

impl PostState {
    /// A letter, if it is kept.
    pub fn letter(&self, id: SideEffectId) -> Option<&Letter> {
        let number = self.numbers.get(&id)?;
        self.letters.get(number).map(|(_, letter)| letter)
    }

    /// All letters that are kept, oldest first.
    pub fn letters(&self) -> impl Iterator<Item = (SideEffectId, &Letter)> {
        self.letters.values().map(|(id, letter)| (*id, letter))
    }

    fn next_number(&self) -> u64 {
        self.letters.last().map_or(1, |(last, _)| last + 1)
    }

    fn put(&mut self, number: u64, id: SideEffectId, letter: Letter) {
        if letter != Letter::UnderWay {
            self.ended.insert(number, ());
        }
        self.numbers.insert(id, number);
        self.letters.insert(number, (id, letter));
    }

    fn end(&mut self, id: SideEffectId, outcome: &SideEffectOutcome) {
        let letter = match outcome.clone() {
            SideEffectOutcome::Done(answer) => Letter::Delivered { answer },
            SideEffectOutcome::GivenUp { attempts, why } => Letter::GivenUp { attempts, why },
        };
        if let Some(number) = self.numbers.get(&id).copied() {
            self.put(number, id, letter);
        }
        if self.ended.len() > ENDED_MAX
            && let Some((oldest, ())) = self.ended.pop_first()
            && let Some((id, _)) = self.letters.remove(&oldest)
        {
            self.numbers.remove(&id);
        }
    }
}

/// A slice of a snapshot ends with the letter that makes it so long.
const SLICE_BYTES: usize = 64 << 10;
/// Letters that are kept once their fate is known, the latest of them.
const ENDED_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::{ENDED_MAX, Letter, Post, PostState};
    use crate::kernel::{ChrApplication, Cursor, SideEffectId, SideEffectOutcome};
    use crate::types::{Blob, Hash, u64_of};

    fn id(number: u64) -> SideEffectId {
        SideEffectId(Hash::of(&number.to_le_bytes()))
    }

    #[test]
    fn letters_under_way_are_kept_and_of_the_others_the_latest() {
        let mut state = PostState::default();
        let all = u64_of(ENDED_MAX) + 3;
        (1..=all).for_each(|number| state.put(number, id(number), Letter::UnderWay));
        (2..=all).for_each(|number| state.end(id(number), &SideEffectOutcome::Done(Blob::default())));
        assert_eq!(state.letter(id(1)), Some(&Letter::UnderWay));
        assert_eq!(state.letter(id(2)), None);
        assert_eq!(state.letter(id(4)), Some(&Letter::Delivered { answer: Blob::default() }));
        assert_eq!(state.letters().count(), ENDED_MAX + 1);
    }

    #[test]
    fn a_snapshot_in_slices_gives_the_same_state() {
        let mut state = PostState::default();
        (1..=3000).for_each(|number| state.put(number, id(number), Letter::UnderWay));
        state.end(id(7), &SideEffectOutcome::GivenUp { attempts: 3, why: Blob::from(b"no".to_vec()) });
        let mut restored = PostState::default();
        let (mut cursor, mut slices) = (Some(Cursor::START), 0);
        while let Some(from) = cursor {
            let mut slice = alloc::vec::Vec::new();
            cursor = Post.snapshot(&state, from, &mut slice);
            Post.restore(&mut restored, Post::SCHEMA, &slice).expect("its own slice");
            slices += 1;
        }
        assert!(slices > 1);
        assert_eq!(restored, state);
    }
}
