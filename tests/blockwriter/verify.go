package blockwriter

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Report is the result of a verification. It marshals to one line of JSON.
type Report struct {
	OK           bool        `json:"ok"`    // no place contradicts the order of writes
	Found        bool        `json:"found"` // there is a stamp at all
	Mode         string      `json:"mode,omitempty"`
	Instance     string      `json:"instance,omitempty"`
	Started      time.Time   `json:"started,omitzero"`
	LastSeq      uint64      `json:"lastSeq"`
	LastBarrier  uint64      `json:"lastBarrier"`
	Torn         bool        `json:"torn"`   // the last operation, a direct one, is there in part
	AtHold       bool        `json:"atHold"` // exactly what the disk held while the writer was held
	Stamped      uint64      `json:"stamped"`
	Violations   uint64      `json:"violations"`
	Examples     []Violation `json:"examples,omitempty"` // the first few
	Loss         *Loss       `json:"loss,omitempty"`     // if there is a log of the instance
	OlderRuns    int         `json:"olderRuns"`          // dir mode: further instances in the directory
	OlderDamaged int         `json:"olderDamaged"`       // and how many of them contradict their order
}

// Loss is what was acknowledged and is not there.
type Loss struct {
	AckedSeq   uint64    `json:"ackedSeq"`           // the last acknowledged
	AckedAt    time.Time `json:"ackedAt,omitzero"`   // and when
	PresentSeq uint64    `json:"presentSeq"`         // the last acknowledged that is there
	PresentAt  time.Time `json:"presentAt,omitzero"` // and when it was acknowledged
	LostSeqs   uint64    `json:"lostSeqs"`
	RPOSeconds float64   `json:"rpoSeconds"` // from PresentAt (else the first acknowledgement) to AckedAt
}

// Question is what to compare a disk with, beyond itself.
type Question struct {
	Log []Run     // from [ReadLog]; nil if there is no log
	By  time.Time // the moment of the disaster: later acknowledgements do not count; zero is the end of the log
}

// VerifyDevices judges disks written in raw mode, given in the order in which the writer had them.
func VerifyDevices(disks []*io.SectionReader, q Question) (Report, error) {
	seen, err := scanDisks(disks)
	if err != nil {
		return Report{}, fmt.Errorf("verify devices: %w", err)
	}
	return q.report(seen, q.newest(seen))
}

// VerifyDevicePaths opens devices or image files and judges them.
func VerifyDevicePaths(paths []string, q Question) (report Report, err error) {
	var disks []*io.SectionReader
	var files []*os.File
	defer func() { err = errors.Join(err, closeAll(files)) }()
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return Report{}, fmt.Errorf("verify devices: %w", err)
		}
		files = append(files, f)
		size, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			return Report{}, fmt.Errorf("verify devices: measure %s: %w", path, err)
		}
		disks = append(disks, io.NewSectionReader(f, 0, size))
	}
	return VerifyDevices(disks, q)
}

// VerifyDir judges a directory written in dir mode. The report is about the newest instance in it.
func VerifyDir(dir string, q Question) (Report, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return q.lostAll(), nil
	}
	if err != nil {
		return Report{}, fmt.Errorf("verify a directory: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), "i-") {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		return q.lostAll(), nil
	}
	slices.Sort(names) // by the time of their start
	newest := len(names) - 1
	report, err := q.instance(dir, names[newest])
	if err != nil {
		return Report{}, err
	}
	for _, name := range names[:newest] {
		older, err := q.instance(dir, name)
		if err != nil {
			return Report{}, err
		}
		report.OlderRuns++
		if !older.OK {
			report.OlderDamaged++
			report.OK = false
		}
	}
	return report, nil
}

// instance judges one instance's directory.
func (q Question) instance(dir, name string) (Report, error) {
	seen, err := scanInstance(filepath.Join(dir, name))
	if err != nil {
		return Report{}, fmt.Errorf("verify a directory: %w", err)
	}
	run := int32(-1)
	foreign := 0
	for i, stamp := range seen.runs {
		if instanceName(stamp.Started, stamp.Instance) == name {
			run = int32(i)
		} else {
			foreign++
		}
	}
	report, err := q.report(seen, run)
	if err == nil && foreign > 0 {
		report.OK = false
		report.Violations += uint64(foreign)
		report.Examples = append(report.Examples, Violation{What: "blocks of another instance"})
	}
	if err == nil && !report.Found {
		report.Instance = name[strings.LastIndexByte(name, '-')+1:]
		report.Loss = q.loss(report.Instance, 0)
	}
	return report, err
}

// newest chooses the run to judge: the latest one, among those in the log if there is a log.
func (q Question) newest(seen *view) int32 {
	best := int32(-1)
	for i, stamp := range seen.runs {
		inLog := slices.ContainsFunc(q.Log, func(r Run) bool { return r.Instance == stamp.Instance })
		if len(q.Log) > 0 && !inLog {
			continue
		}
		if best < 0 || stamp.Started > seen.runs[best].Started {
			best = int32(i)
		}
	}
	return best
}

// lostAll is the report of a place that holds nothing of the writer.
func (q Question) lostAll() Report {
	report := Report{OK: true}
	if n := len(q.Log); n > 0 {
		report.Instance = hex(q.Log[n-1].Instance)
		report.Loss = q.loss(report.Instance, 0)
	}
	return report
}

func (q Question) report(seen *view, run int32) (Report, error) {
	if run < 0 {
		return q.lostAll(), nil
	}
	high := seen.last[run]
	e, err := expect(high, 0)
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	v := judge(seen, run, e)
	report := Report{
		OK: v.count == 0, Found: true,
		Mode: high.Mode.String(), Instance: hex(high.Instance), Started: time.UnixMilli(int64(high.Started)).UTC(),
		LastSeq: high.Seq, LastBarrier: high.Barrier,
		Torn:    e.flight.Kind == Direct && v.flight < e.flight.Count,
		Stamped: v.stamped, Violations: v.count, Examples: v.violations,
	}
	report.Loss = q.loss(report.Instance, high.Seq)
	report.AtHold, err = q.atHold(seen, run)
	return report, err
}

// atHold says whether the disk is exactly what it was during one of the holds in the log.
func (q Question) atHold(seen *view, run int32) (bool, error) {
	high := seen.last[run]
	for _, logged := range q.Log {
		if logged.Instance != high.Instance {
			continue
		}
		for _, held := range logged.Holds {
			if held < high.Seq {
				continue
			}
			e, err := expect(high, held)
			if err != nil {
				return false, fmt.Errorf("verify against a hold: %w", err)
			}
			return judge(seen, run, e).count == 0, nil
		}
	}
	return false, nil
}

// loss compares the highest sequence number with the log of the instance.
func (q Question) loss(instance string, lastSeq uint64) *Loss {
	i := slices.IndexFunc(q.Log, func(r Run) bool { return hex(r.Instance) == instance })
	if i < 0 {
		return nil
	}
	logged := q.Log[i]
	acked, ok := logged.AckedBy(q.By)
	if !ok {
		return &Loss{}
	}
	loss := &Loss{AckedSeq: acked.Seq, AckedAt: acked.Time}
	since := logged.Acks[0].Time
	if present, ok := logged.ackedAt(min(lastSeq, acked.Seq)); ok {
		loss.PresentSeq, loss.PresentAt = present.Seq, present.Time
		since = present.Time
	}
	loss.LostSeqs = acked.Seq - loss.PresentSeq
	loss.RPOSeconds = acked.Time.Sub(since).Seconds()
	return loss
}

func hex(instance uint64) string { return fmt.Sprintf("%016x", instance) }
