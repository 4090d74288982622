package applier

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

const (
	footerBytes = 512
	vhdUnit     = 1 << 20 // Azure takes virtual disks of whole MiB only
)

// vhdEpoch is where the format's clock begins.
var vhdEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// footer makes the last sector of a fixed VHD (Microsoft's Virtual Hard Disk Image Format Specification, 1.0). size is the
// disk's in bytes, without the footer. The id is made from the disk's name, so that a footer written again is the same.
// The creator is "win ": with others some readers believe the geometry instead of the size.
func footer(name string, size int64, made time.Time) []byte {
	f := make([]byte, footerBytes)
	be := binary.BigEndian
	copy(f, "conectix")
	be.PutUint32(f[8:], 2)           // features: the reserved bit, which is always set
	be.PutUint32(f[12:], 0x00010000) // version of the format
	be.PutUint64(f[16:], ^uint64(0)) // no header behind it: a fixed disk
	be.PutUint32(f[24:], uint32(max(0, made.Sub(vhdEpoch)/time.Second)))
	copy(f[28:], "win ")
	be.PutUint32(f[32:], 0x000a0000)
	copy(f[36:], "Wi2k")
	be.PutUint64(f[40:], uint64(size)) // original size
	be.PutUint64(f[48:], uint64(size)) // current size
	cylinders, heads, sectors := geometry(size)
	be.PutUint16(f[56:], cylinders)
	f[58], f[59] = heads, sectors
	be.PutUint32(f[60:], 2) // a fixed disk
	id := sha256.Sum256([]byte(name))
	copy(f[68:84], id[:])
	var sum uint32
	for _, b := range f {
		sum += uint32(b)
	}
	be.PutUint32(f[64:], ^sum)
	return f
}

// geometry is the specification's appendix on CHS, step by step.
func geometry(size int64) (cylinders uint16, heads, sectors byte) {
	total := min(size/512, 65535*16*255)
	var spt, hds, cylTimesHeads int64
	if total >= 65535*16*63 {
		spt, hds = 255, 16
		cylTimesHeads = total / spt
	} else {
		spt = 17
		cylTimesHeads = total / spt
		hds = max(4, (cylTimesHeads+1023)/1024)
		if cylTimesHeads >= hds*1024 || hds > 16 {
			spt, hds = 31, 16
			cylTimesHeads = total / spt
		}
		if cylTimesHeads >= hds*1024 {
			spt, hds = 63, 16
			cylTimesHeads = total / spt
		}
	}
	return uint16(cylTimesHeads / hds), byte(hds), byte(spt)
}

// vhdSize is the size of a disk as a VHD, without the footer.
func vhdSize(size int64) int64 { return (size + vhdUnit - 1) / vhdUnit * vhdUnit }
