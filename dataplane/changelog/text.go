package changelog

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Text writes the report for people.
func (r *Report) Text(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "change log\tversion %d, %d bytes, %d slots of %d\n", r.Version, r.Bytes, r.Slots, r.SlotSize)
	fmt.Fprintf(w, "state\t%s\n", r.State)
	fmt.Fprintf(w, "opened\t%s\ncookie\t%s\n", r.Opened.Format(time.RFC3339Nano), r.Cookie)
	for i, d := range r.Disks {
		fmt.Fprintf(w, "disk %d\t%s\n", i, d)
	}
	for _, d := range r.Damages {
		fmt.Fprintf(w, "damage\t%s\n", d)
	}
	fmt.Fprintf(w, "never written\t%d slots\n", r.Empty)
	if len(r.Frames) > 0 {
		fmt.Fprintf(w, "\nFRAME\tSTATE\tSLOT\tAT BYTE\tRECORDS\tBOOT CLOCK\tWRITES\tDATA\tZERO\tUNSPECIFIED\tDATA BYTES\tDISKS\n")
	}
	for _, f := range r.Frames {
		fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%d to %d\t%v to %v\t%d\t%d\t%d\t%d\t%d\t%v\n", f.Frame, f.State, f.Slot, f.Offset, f.First, f.Last,
			f.BootFirst, f.BootLast, f.Writes, f.Data, f.Zero, f.Unspecified, f.DataBytes, f.Disks)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
