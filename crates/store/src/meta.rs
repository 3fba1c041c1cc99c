//! Whose data folder this is.

use crate::disk::Disk;
use crate::error::OpenError;
use rowcast_core::NodeId;
use std::io;

/// The file `meta`. Integers are little endian.
///
/// | bytes | field    |                                     |
/// |-------|----------|-------------------------------------|
/// | 8     | magic    | `rowmeta\n`                         |
/// | 4     | version  | 1                                   |
/// | 8     | node     | never zero                          |
/// | 8     | zero     |                                     |
/// | 4     | checksum | CRC-32C of all the above            |
///
/// Returns the node of an existing folder, or writes `new` into a new one; `new` is not looked at otherwise.
pub(crate) fn open(disk: &dyn Disk, new: Option<NodeId>) -> Result<NodeId, OpenError> {
    let failed = |doing| move |source| OpenError::Io { doing, place: disk.place(NAME), source };
    let names = disk.list().map_err(failed("list the folder of"))?;
    if names.iter().any(|name| name == NAME) {
        return read(disk).map_err(failed("read"))?.ok_or_else(|| OpenError::DamagedMeta { place: disk.place(NAME) });
    }
    // The first start writes it before anything else: a folder with a log and no meta has lost it.
    if names.iter().any(|name| name.ends_with(".log")) {
        return Err(OpenError::DamagedMeta { place: disk.place(NAME) });
    }
    let node = new.filter(|node| node.0 != 0).ok_or(OpenError::NoNode)?;
    write(disk, node).map_err(failed("write"))?;
    Ok(node)
}

fn read(disk: &dyn Disk) -> io::Result<Option<NodeId>> {
    let mut bytes = [0; BYTES + 1];
    let read = disk.open(NAME)?.read_at(&mut bytes, 0)?;
    let node = NodeId(u64::from_le_bytes(bytes[12..20].try_into().expect("eight bytes")));
    Ok((read == BYTES && encode(node) == bytes[..BYTES] && node.0 != 0).then_some(node))
}

fn write(disk: &dyn Disk, node: NodeId) -> io::Result<()> {
    match disk.remove(UNFINISHED) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(UNFINISHED)?;
    file.write_at(&encode(node), 0)?;
    file.sync_data()?;
    disk.rename(UNFINISHED, NAME)?;
    disk.sync_dir()
}

fn encode(node: NodeId) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[0..8].copy_from_slice(b"rowmeta\n");
    bytes[8..12].copy_from_slice(&1u32.to_le_bytes());
    bytes[12..20].copy_from_slice(&node.0.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..28]);
    bytes[28..32].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

const NAME: &str = "meta";
const UNFINISHED: &str = "meta.tmp";
const BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;

    #[test]
    fn a_new_folder_takes_the_node_it_is_given_and_an_old_one_keeps_its_own() {
        let disk = MemDisk::new(1);
        assert!(matches!(open(&disk, None), Err(OpenError::NoNode)));
        assert_eq!(open(&disk, Some(NodeId(7))).unwrap(), NodeId(7));
        assert_eq!(open(&disk, None).unwrap(), NodeId(7));
        assert_eq!(open(&disk, Some(NodeId(8))).unwrap(), NodeId(7));
    }

    #[test]
    fn an_altered_one_is_refused() {
        for bit in 0..BYTES as u64 * 8 {
            let disk = MemDisk::new(1);
            open(&disk, Some(NodeId(7))).unwrap();
            disk.flip(NAME, bit);
            assert!(matches!(open(&disk, Some(NodeId(8))), Err(OpenError::DamagedMeta { .. })), "bit {bit}");
        }
    }

    #[test]
    fn a_log_without_it_is_not_taken_for_a_new_folder() {
        let disk = MemDisk::new(1);
        disk.create("00000000000000000001.log").unwrap();
        assert!(matches!(open(&disk, Some(NodeId(7))), Err(OpenError::DamagedMeta { .. })));
    }
}
