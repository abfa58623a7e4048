//! A case's packets and records as the perf.data file that perf would have written.

/// Little-endian bytes of a list of numbers.
macro_rules! bytes {
    ($($field:expr),* $(,)?) => {{
        let mut bytes: Vec<u8> = Vec::new();
        $(bytes.extend($field.to_le_bytes());)*
        bytes
    }};
}
pub(crate) use bytes;

const MMAP: u32 = 1;
const ITRACE_START: u32 = 12;
const SWITCH: u32 = 14;
const SWITCH_CPU_WIDE: u32 = 15;
const AUXTRACE_INFO: u32 = 70;
const AUXTRACE: u32 = 71;
/// Bit of `misc`: the switch is one out.
const OUT: u16 = 1 << 13;
/// Identifying fields behind a record, in this order.
const TID: u64 = 1 << 1;
const TIME: u64 = 1 << 2;
const CPU: u64 = 1 << 7;
/// The dynamic type number of the processor's trace unit.
const PMU: u32 = 8;

/// The code of a case, as a file that is mapped: where, and from which offset on.
pub(crate) struct CodeFile<'a> {
    pub(crate) name: &'a str,
    pub(crate) org: u64,
    pub(crate) len: u64,
    pub(crate) offset: u64,
}

/// Records of one processor, as the case has them.
pub(crate) struct Channel {
    pub(crate) sample_type: u64,
    pub(crate) records: Vec<u8>,
}

/// A file in the making.
pub(crate) struct Writer<'a> {
    code: CodeFile<'a>,
    records: Vec<u8>,
    /// Process and thread on the processor, and what a switch out said would be next.
    running: [u32; 2],
    next: Option<[u32; 2]>,
    mapped: bool,
    switched: bool,
    /// Processes of which code is mapped, ascending.
    pub(crate) processes: Vec<u32>,
}

impl<'a> Writer<'a> {
    /// A file with the records of these processors.
    pub(crate) fn new(code: CodeFile<'a>, channels: &[Channel]) -> Writer<'a> {
        let mut writer = Writer {
            code,
            records: Vec::new(),
            running: [1, 1],
            next: None,
            mapped: false,
            switched: false,
            processes: vec![1],
        };
        for (cpu, channel) in channels.iter().enumerate() {
            let mut rest = &channel.records[..];
            while let Some(header) = rest.first_chunk::<8>() {
                let len = usize::from(u16::from_le_bytes([header[6], header[7]]));
                let (record, behind) = rest.split_at(len);
                writer.take(record, channel.sample_type, cpu as u64);
                rest = behind;
            }
        }
        if !writer.mapped {
            writer.map_all();
        }
        writer.processes.sort_unstable();
        writer.processes.dedup();
        writer
    }

    /// A record, with what perf always tells behind it: the thread that ran, the time, the processor.
    fn take(&mut self, record: &[u8], sample_type: u64, cpu: u64) {
        let kind = u32::from_le_bytes(record[..4].try_into().unwrap());
        let misc = u16::from_le_bytes(record[4..6].try_into().unwrap());
        assert_eq!(
            sample_type & !(TID | TIME),
            0,
            "no case with a flow has more"
        );
        let id_len = 8 * (sample_type & (TID | TIME)).count_ones() as usize;
        let (body, id) = record[8..].split_at(record.len() - 8 - id_len);
        let told = (sample_type & TID != 0).then(|| two(id));
        let time = &id[id_len - 8..];
        let ran = self.task(kind, misc, body);
        let task = told.unwrap_or(ran);
        let body = match kind {
            MMAP => self.moved(body),
            _ => body.to_vec(),
        };
        let id = [&bytes![task[0], task[1]][..], time, &bytes![cpu]].concat();
        self.records
            .extend(self::record(kind, misc, &[body, id].concat()));
    }

    /// Who ran when a record was written.
    fn task(&mut self, kind: u32, misc: u16, body: &[u8]) -> [u32; 2] {
        match kind {
            ITRACE_START => self.running = two(body),
            SWITCH | SWITCH_CPU_WIDE => self.switched = true,
            _ => {}
        }
        if kind == SWITCH_CPU_WIDE && misc & OUT != 0 {
            self.next = Some(two(body));
        } else if kind == SWITCH_CPU_WIDE {
            self.running = self.next.take().unwrap_or(self.running);
        }
        self.running
    }

    /// A mapping of the case's code, which lies further behind in the file now.
    fn moved(&mut self, body: &[u8]) -> Vec<u8> {
        let name: Vec<u8> = body[32..]
            .iter()
            .copied()
            .take_while(|&byte| byte != 0)
            .collect();
        let offset = u64::from_le_bytes(body[24..32].try_into().unwrap());
        self.mapped |= name == self.code.name.as_bytes();
        self.processes.push(two(body)[0]);
        [
            &body[..24],
            &bytes![offset + self.code.offset],
            &path(&name),
        ]
        .concat()
    }

    /// All code at its place, from the begin on.
    fn map_all(&mut self) {
        let CodeFile {
            org, len, offset, ..
        } = self.code;
        let place = bytes![1u32, 1u32, org, len, offset];
        let id = bytes![1u32, 1u32, 0u64, 0u64];
        let body = [place, path(self.code.name.as_bytes()), id].concat();
        self.records.extend(record(MMAP, 0, &body));
    }

    /// The file: of a thread, or of a processor where threads are switched.
    pub(crate) fn file(&self, packets: &[u8]) -> Vec<u8> {
        let (thread, cpu) = match self.switched {
            true => (u32::MAX, 0),
            false => (1, u32::MAX),
        };
        // The clock of the records is that of the packets; TSC packets are bit 10 of the configuration.
        let mut info = [0u64; 17];
        info[..8].copy_from_slice(&[u64::from(PMU), 0, 1, 0, 1, 1 << 10, 1 << 11, 2]);
        let info: Vec<u8> = info.iter().flat_map(|word| word.to_le_bytes()).collect();
        let len = packets.len() as u64;
        let data = [
            record(AUXTRACE_INFO, 0, &[bytes![1u32, 0u32], info].concat()),
            self.records.clone(),
            record(
                AUXTRACE,
                0,
                &bytes![len, 0u64, 1u64, 0u32, thread, cpu, 0u32],
            ),
            packets.to_vec(),
        ]
        .concat();
        let (config, sample_id_all) = (1u64 << 13 | 1 << 10, 1u64 << 18);
        let mut attr = bytes![
            PMU,
            128u32,
            config,
            0u64,
            TID | TIME | CPU,
            0u64,
            sample_id_all
        ];
        attr.resize(128 + 16, 0);
        let (entry, data_len) = (attr.len() as u64, data.len() as u64);
        let mut file = b"PERFILE2".to_vec();
        file.extend(bytes![104u64, entry, 104u64, entry, 104 + entry, data_len]);
        file.resize(104, 0);
        [file, attr, data].concat()
    }
}

fn two(bytes: &[u8]) -> [u32; 2] {
    [0, 4].map(|at| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()))
}

/// A file's name as the kernel tells it, from the root on; names in brackets and of no file stay.
fn path(name: &[u8]) -> Vec<u8> {
    let root: &[u8] = match name.starts_with(b"[") || name.starts_with(b"/") {
        true => b"",
        false => b"/",
    };
    let mut padded = [root, name].concat();
    padded.resize((padded.len() + 1).next_multiple_of(8), 0);
    padded
}

fn record(kind: u32, misc: u16, body: &[u8]) -> Vec<u8> {
    let header = bytes![kind, misc, (body.len() + 8) as u16];
    [&header, body].concat()
}
