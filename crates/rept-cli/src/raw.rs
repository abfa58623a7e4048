//! What a file of bare packets does not say, as the command line names it: code and processor.

use rept_core::{CpuModel, ImageFile};
use rept_trace::Address;
use std::path::Path;

/// `FILE[:OFFSET[:LENGTH]]@ADDRESS`: the file, from an offset on, to its end unless told, ran there.
///
/// # Errors
/// It is written otherwise, or the file cannot be read.
pub(crate) fn image(text: &str) -> Result<ImageFile, String> {
    let form = || "an image is FILE[:OFFSET[:LENGTH]]@ADDRESS".to_owned();
    let (place, address) = text.rsplit_once('@').ok_or_else(form)?;
    let address: Address = address.parse().map_err(|_| form())?;
    let (path, offset, len) = place_in_file(place);
    let size = std::fs::metadata(path)
        .map_err(|error| format!("{path}: cannot be read: {error}"))?
        .len();
    let len = len.unwrap_or(u64::MAX).min(size.saturating_sub(offset));
    if len == 0 {
        return Err(format!(
            "{path}: nothing lies at offset {offset:#x}, the file has {size:#x} bytes"
        ));
    }
    Ok(ImageFile {
        path: path.into(),
        offset,
        len,
        address,
    })
}

/// A path, and the numbers behind it; a file may have a colon in its name.
fn place_in_file(place: &str) -> (&str, u64, Option<u64>) {
    let number = |text: &str| text.parse::<Address>().ok().map(|number| number.0);
    let split = |text| {
        let (before, last) = str::rsplit_once(text, ':')?;
        Some((before, number(last)?))
    };
    if Path::new(place).is_file() {
        return (place, 0, None);
    }
    match split(place) {
        None => (place, 0, None),
        Some((before, last)) => match split(before) {
            Some((path, offset)) => (path, offset, Some(last)),
            None => (before, last, None),
        },
    }
}

/// `FAMILY/MODEL[/STEPPING]`, decimal or hexadecimal behind 0x.
///
/// # Errors
/// It is written otherwise.
pub(crate) fn processor(text: &str) -> Result<CpuModel, String> {
    let form = || "a processor is FAMILY/MODEL or FAMILY/MODEL/STEPPING".to_owned();
    let number = |text: &str| text.parse::<Address>().map(|number| number.0);
    let parts: Result<Vec<u64>, _> = text.split('/').map(number).collect();
    let (family, model, stepping) = match parts.as_deref() {
        Ok(&[family, model]) => (family, model, 0),
        Ok(&[family, model, stepping]) => (family, model, stepping),
        _ => return Err(form()),
    };
    Ok(CpuModel {
        intel: true,
        family: family.try_into().map_err(|_| form())?,
        model: model.try_into().map_err(|_| form())?,
        stepping: stepping.try_into().map_err(|_| form())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_files_are_read() {
        let read = |text| place_in_file(text);
        assert_eq!(read("a"), ("a", 0, None));
        assert_eq!(read("a:0x10"), ("a", 16, None));
        assert_eq!(read("a:0x10:32"), ("a", 16, Some(32)));
        assert_eq!(read("a:b:0x10"), ("a:b", 16, None));
        assert_eq!(read("a:b"), ("a:b", 0, None));
    }

    #[test]
    fn processors_are_read() {
        let read = |text| processor(text).map(|cpu| (cpu.family, cpu.model, cpu.stepping));
        assert_eq!(read("6/94"), Ok((6, 94, 0)));
        assert_eq!(read("0x6/0x5e/3"), Ok((6, 94, 3)));
        for text in ["", "6", "6/", "6/256", "6/1/2/3", "a/b"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn images_that_cannot_be_are_named() {
        let say = |text| image(text).unwrap_err();
        assert!(say("/nowhere/file@0x1000").contains("/nowhere/file: cannot be read"));
        assert!(say("/proc/self/exe").contains("FILE[:OFFSET[:LENGTH]]@ADDRESS"));
        let beyond = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let beyond = format!("{}:0x100000@0x1000", beyond.display());
        assert!(say(&beyond).contains("nothing lies at offset 0x100000"));
    }
}
