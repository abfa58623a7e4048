//! The path of one thread, handed out while it is decoded, so that it need not be kept.
//!
//! Only a thread with a buffer of its own can be followed: what of a processor's buffer is whose
//! shows when all of it is decoded.

use super::decode::{self, Pace};
use super::{Inner, Session, agree, rewritten};
use crate::capture::{Capture, Stream};
use crate::diagnostics::Diagnostic;
use crate::image::ProcessImage;
use rept_decode::{CodeBuilder, Decoder};
use rept_trace::{Code, Gap, ThreadId, ThreadTrace, Trace};
use std::ops::ControlFlow;

/// Bytes of packets decoded before the path is handed out.
const CHUNK: usize = 1 << 14;

/// What following a thread showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Followed {
    /// Steps that were handed out.
    pub steps: u64,
    /// The first place where steps are missing; counts steps of the whole path.
    pub gap: Option<Gap>,
    /// What was noticed that [`Session::diagnostics`] does not have.
    pub diagnostics: Vec<Diagnostic>,
}

/// Takes a piece of a path: the code of its runs, and the piece, whose steps count from its own
/// begin. Says whether to go on.
pub type Follower<'f> = dyn FnMut(&Code, &ThreadTrace) -> ControlFlow<()> + 'f;

impl Session {
    /// Hands out the path of a thread piece by piece, oldest first, without keeping it: what is in
    /// memory is the path of some kilobytes of packets, however long the trace is. Together the
    /// pieces are the thread's path in [`Session::decode`], but for upper bounds in time that only
    /// later packets tell. Where code lies in memory that can be written, all of the trace is decoded
    /// before, to see what of that code is the dump's.
    ///
    /// `None` where the path cannot be told alone: without `thread` when there are several, and
    /// when threads share the buffers of processors.
    pub fn follow(&self, thread: Option<ThreadId>, visit: &mut Follower<'_>) -> Option<Followed> {
        let inner = &self.inner;
        let capture = inner.capture.as_ref()?;
        let stream = inner.stream_of(capture, thread)?;
        let dump = inner.dump.as_ref();
        let mut image =
            ProcessImage::new(capture, inner.process, dump, &inner.binaries, &inner.jit);
        if image.has_changeable() {
            // Which code was written anew shows at the end only.
            let tell = |progress| inner.watch.tell(progress);
            decode::settle(capture, &mut image, inner.process, inner.limits, &tell);
        }
        Some(inner.follow(capture, stream, &image, visit))
    }
}

impl Inner {
    /// The only stream that is to be followed, if there is one.
    fn stream_of<'a>(&self, capture: &'a Capture, only: Option<ThreadId>) -> Option<&'a Stream> {
        if capture.streams.iter().any(|stream| stream.cpu.is_some()) {
            return None;
        }
        let processes = capture.processes();
        let mut wanted = capture.streams.iter().filter(|stream| {
            let thread = stream.thread.unwrap_or_default();
            let ours = decode::is_of(self.process, &processes, thread);
            ours && only.is_none_or(|only| only == thread)
        });
        let stream = wanted.next()?;
        wanted.next().is_none().then_some(stream)
    }

    fn follow(
        &self,
        capture: &Capture,
        stream: &Stream,
        image: &ProcessImage<'_>,
        visit: &mut Follower<'_>,
    ) -> Followed {
        let thread = stream.thread.unwrap_or_default();
        let tell = |progress| self.watch.tell(progress);
        let pace = Pace::of(std::slice::from_ref(stream), self.limits, &tell);
        let mut code = CodeBuilder::new();
        let mut decoder = Decoder::new(thread, image, &decode::options(capture), &mut code);
        let mut path = Followed {
            diagnostics: rewritten::findings(image).collect(),
            ..Followed::default()
        };
        let mut tail = ThreadTrace::new(thread);
        for chunk in decode::chunks(capture, stream, pace.skipped(stream)) {
            if chunk.lost_before {
                decoder.lost_data();
            }
            for bytes in chunk.bytes.chunks(CHUNK) {
                decoder.feed(bytes);
                let piece = decoder.take().1;
                let went_on = path.hand_out(decoder.code(), &piece, visit);
                remember(&mut tail, piece);
                if went_on.is_break() || pace.advance(bytes.len() as u64).is_break() {
                    return path;
                }
            }
        }
        let mut last = decoder.finish();
        remember(&mut tail, last.clone());
        tail.gaps.clear();
        let mut end = Trace {
            code: code.finish(),
            threads: vec![tail],
        };
        if let Some(dump) = &self.dump {
            decode::join(&mut end, Some(dump), &mut path.diagnostics);
            let missing = agree::missing_from_dump(&end, dump, capture);
            path.diagnostics.extend(missing);
        }
        let step = last.steps();
        let gaps = std::mem::take(&mut end.threads[0].gaps);
        last.gaps
            .extend(gaps.into_iter().map(|gap| Gap { step, ..gap }));
        let _ = path.hand_out(&end.code, &last, visit);
        path
    }
}

/// Keeps of the path what tells where it ends: the newest piece with steps, and the events behind it.
fn remember(tail: &mut ThreadTrace, piece: ThreadTrace) {
    if piece.runs().is_empty() {
        let at = tail.steps();
        tail.events
            .extend(piece.events.into_iter().map(|mut event| {
                event.step = at;
                event
            }));
    } else {
        *tail = piece;
    }
}

impl Followed {
    fn hand_out(
        &mut self,
        code: &Code,
        piece: &ThreadTrace,
        visit: &mut Follower<'_>,
    ) -> ControlFlow<()> {
        if self.gap.is_none() {
            self.gap = piece.gaps.first().cloned();
            if let Some(gap) = &mut self.gap {
                gap.step += self.steps;
            }
        }
        self.steps += piece.steps();
        visit(code, piece)
    }
}
