//! From pieces of a stream to a thread's path.

use crate::flow::Flow;
use crate::reader::Reader;
use crate::{CodeBuilder, CodeImage, DecodeOptions};
use rept_trace::{Code, ThreadId, ThreadTrace};

/// A piece of a thread's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// PT bytes as recorded. A packet may begin in one chunk and end in the next.
    pub bytes: &'a [u8],
    /// The recording lost data between the chunk before and this one.
    pub lost_before: bool,
}

/// The PT bytes of one thread, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream<'a> {
    /// The thread.
    pub thread: ThreadId,
    /// Its bytes, in order.
    pub chunks: Vec<Chunk<'a>>,
}

impl<'a> Stream<'a> {
    /// A stream in one piece.
    pub fn new(thread: ThreadId, bytes: &'a [u8]) -> Stream<'a> {
        let whole = Chunk {
            bytes,
            lost_before: false,
        };
        Stream {
            thread,
            chunks: vec![whole],
        }
    }
}

/// Decodes the stream of one thread as its bytes come in.
pub struct Decoder<'c, I: ?Sized> {
    reader: Reader<Flow<'c, I>>,
}

impl<'c, I: CodeImage + ?Sized> Decoder<'c, I> {
    /// A decoder that has seen no bytes. `code` must have been used with this image only.
    pub fn new(
        thread: ThreadId,
        image: &'c I,
        options: &DecodeOptions,
        code: &'c mut CodeBuilder,
    ) -> Decoder<'c, I> {
        let flow = Flow::new(thread, image, *options, code);
        Decoder {
            reader: Reader::new(flow, options),
        }
    }

    /// Makes room for the path of so many bytes.
    pub(crate) fn expect_bytes(&mut self, bytes: usize) {
        self.reader.sink.expect_bytes(bytes);
    }

    /// Takes in the next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.reader.feed(bytes);
    }

    /// The recording lost data here.
    pub fn lost_data(&mut self) {
        self.reader.lost_data();
    }

    /// The blocks so far.
    pub fn code(&self) -> &Code {
        self.reader.sink.code()
    }

    /// Hands out the path so far, so that it need not be kept: the number of steps before it, and
    /// the rest, whose steps count from there. Upper bounds in time that only later packets tell
    /// are open in it. Empty while the last event waits for its address.
    ///
    /// What a decoder keeps is then the path of what it was fed since, however long the stream is.
    pub fn take(&mut self) -> (u64, ThreadTrace) {
        self.reader.sink.take()
    }

    /// The end of the stream: the thread's path, or what of it was not handed out.
    pub fn finish(self) -> ThreadTrace {
        self.reader.finish().finish()
    }
}
