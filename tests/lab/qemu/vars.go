package qemu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unicode/utf16"
)

// The layout of the file in which OVMF keeps its variables: a firmware volume (PI specification 1.7, volume 3) with a store of
// authenticated variables (MdeModulePkg/Include/Guid/VariableFormat.h of EDK II).
const (
	volumeHeaderLength = 48 // place of the length of the volume's header
	storeHeaderBytes   = 28
	variableStart      = 0x55aa
	variableBytes      = 60   // of a variable's header
	variableAdded      = 0x3f // neither deleted nor about to be
	variableAligned    = 4
)

// Variables reads the UEFI variables that a machine has left in a file, by name. Of a name that several vendors use the last
// one is given.
func Variables(path string) (map[string][]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read UEFI variables: %w", err)
	}
	le := binary.LittleEndian
	if len(raw) < 64<<10 || string(raw[40:44]) != "_FVH" {
		return nil, errors.New("read UEFI variables: this is no firmware volume")
	}
	all := map[string][]byte{}
	at := int(le.Uint16(raw[volumeHeaderLength:])) + storeHeaderBytes
	for at+variableBytes <= len(raw) && le.Uint16(raw[at:]) == variableStart {
		header := raw[at : at+variableBytes]
		name, data := int(le.Uint32(header[36:])), int(le.Uint32(header[40:]))
		body := at + variableBytes
		if name > len(raw)-body || data > len(raw)-body-name {
			return nil, fmt.Errorf("read UEFI variables: one at %d is longer than the file", at)
		}
		if header[2] == variableAdded {
			all[text(raw[body:body+name])] = raw[body+name : body+name+data]
		}
		at = (body + name + data + variableAligned - 1) / variableAligned * variableAligned
	}
	return all, nil
}

// text reads UTF-16 with a zero at its end.
func text(b []byte) string {
	var units []uint16
	for i := 0; i+1 < len(b); i += 2 {
		if u := binary.LittleEndian.Uint16(b[i:]); u != 0 {
			units = append(units, u)
		}
	}
	return string(utf16.Decode(units))
}
