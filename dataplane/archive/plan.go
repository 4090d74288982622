package archive

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/journal"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// The names of what an archive holds besides objects of the vault.
const (
	HeadName = "farshore-archive.json" // first
	SumsName = "SHA256SUMS"            // last: with it the archive is whole
)

const (
	format  = "farshore archive"
	version = 1
)

// Head says what an archive holds.
type Head struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	Vault   string `json:"vault"`
	Parts   []Part `json:"parts"`
}

// Part is a piece of one generation's stream.
type Part struct {
	Machine    farshore.MachineID  `json:"machine"`
	Generation farshore.Generation `json:"generation"`
	From       string              `json:"from,omitempty"` // the position in front of the piece; none: the generation's beginning
	To         string              `json:"to"`             // its last position
}

func (h Head) encode() ([]byte, error) {
	body, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the head of the archive: %w", err)
	}
	return append(body, '\n'), nil
}

// Selection says what to take out of a vault.
type Selection struct {
	Machines []farshore.MachineID // none: only what makes it this vault
	From, To farshore.Position    // of the only machine: behind From, up to To; zero: all there is
}

// Plan is what an archive will hold.
type Plan struct {
	Head    Head
	Objects []vault.Entry // in the order of the archive
}

// Bytes is the size of all objects.
func (p Plan) Bytes() int64 {
	var sum int64
	for _, o := range p.Objects {
		sum += o.Size
	}
	return sum
}

// Make chooses the objects. Streams are followed by their headers; where one does not hold together the fault is that of
// package journal.
func Make(ctx context.Context, r journal.Reader, s Selection) (Plan, error) {
	p := Plan{Head: Head{Format: format, Version: version, Vault: r.Vault.String(), Parts: []Part{}}}
	own, err := entries(ctx, r.Store, "points/v1/")
	if err != nil {
		return p, err
	}
	for _, e := range own { // vault.json and what follows on it; machines' have a folder of their own
		if !strings.HasPrefix(e.Name, chain.PointsRoot) {
			p.Objects = append(p.Objects, e)
		}
	}
	slices.SortStableFunc(p.Objects, func(a, b vault.Entry) int { return -strings.Compare(a.Name, b.Name) }) // vault.json first
	slices.Reverse(p.Objects[1:])
	var segments []vault.Entry
	for _, m := range s.Machines {
		kept, err := p.machine(ctx, r, m, s)
		if err != nil {
			return p, err
		}
		segments = append(segments, kept...)
	}
	p.Objects = append(p.Objects, segments...)
	return p, nil
}

// machine plans one machine: what is kept about it, and gives its segments.
func (p *Plan) machine(ctx context.Context, r journal.Reader, m farshore.MachineID, s Selection) ([]vault.Entry, error) {
	generations, err := r.Generations(ctx, m)
	if err != nil {
		return nil, err
	}
	about, err := entries(ctx, r.Store, chain.MachinePrefix(m))
	if err != nil {
		return nil, err
	}
	for _, e := range about {
		if s.keeps(m, e.Name) {
			p.Objects = append(p.Objects, e)
		}
	}
	var segments []vault.Entry
	for _, g := range generations {
		if !s.wants(g) {
			continue
		}
		kept, err := p.generation(ctx, r, chain.Stream{Machine: m, Generation: g}, s)
		if err != nil {
			return nil, err
		}
		segments = append(segments, kept...)
	}
	return segments, nil
}

// generation plans the readable part of one generation.
func (p *Plan) generation(ctx context.Context, r journal.Reader, stream chain.Stream, s Selection) ([]vault.Entry, error) {
	sizes := map[string]int64{}
	all, err := entries(ctx, r.Store, chain.JournalPrefix(stream.Machine, stream.Generation))
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		sizes[e.Name] = e.Size
	}
	horizon, headers, err := r.Behind(ctx, stream.Machine, stream.Generation)
	if err != nil {
		return nil, err
	}
	if horizon.Position.Epoch > 0 && s.From.Compare(horizon.Position) < 0 {
		return nil, &fault.Fault{
			Code: "FS-3544", Kind: fault.Refused, Subject: fmt.Sprintf("machine %s, generation %d", stream.Machine, stream.Generation),
			What:   fmt.Sprintf("retention has let go of what lies before %s; its points rest on replica disks, which are not carried", horizon.Position),
			Remedy: "restore a point: farshore-restore write; or carry what comes behind: --from " + horizon.Position.String(),
		}
	}
	part := Part{Machine: stream.Machine, Generation: stream.Generation}
	var segments []vault.Entry
	found := s.From.IsZero()
	if found = found || horizon.Position == s.From; found && !s.From.IsZero() {
		part.From = s.From.String()
	}
	for _, h := range headers {
		at := h.Position()
		if !found {
			found = at == s.From
			part.From = at.String()
			continue
		}
		if !s.To.IsZero() && at.Compare(s.To) > 0 {
			break
		}
		name := chain.NameOf(h.Machine, at)
		segments = append(segments, vault.Entry{Name: name, Size: sizes[name]})
		part.To = at.String()
	}
	if !found || len(segments) == 0 && (!s.From.IsZero() || !s.To.IsZero()) || !s.To.IsZero() && part.To != s.To.String() {
		return nil, noPosition(stream, s)
	}
	if len(segments) > 0 {
		p.Head.Parts = append(p.Head.Parts, part)
	}
	return segments, nil
}

func noPosition(stream chain.Stream, s Selection) error {
	return &fault.Fault{
		Code: "FS-3516", Kind: fault.Refused, Subject: "machine " + string(stream.Machine),
		What:   fmt.Sprintf("its stream has nothing behind %s up to %s", orStart(s.From), orEnd(s.To)),
		Remedy: "list the positions: farshore-restore points " + string(stream.Machine),
	}
}

func orStart(p farshore.Position) string {
	if p.IsZero() {
		return "its beginning"
	}
	return p.String()
}

func orEnd(p farshore.Position) string {
	if p.IsZero() {
		return "its end"
	}
	return p.String()
}

// wants reports whether a generation is chosen.
func (s Selection) wants(g farshore.Generation) bool {
	for _, limit := range []farshore.Position{s.From, s.To} {
		if !limit.IsZero() && limit.Generation != g {
			return false
		}
	}
	return true
}

// keeps reports whether an object about a machine is chosen: specs always, what belongs to epochs with them.
func (s Selection) keeps(m farshore.MachineID, name string) bool {
	rest := strings.TrimPrefix(name, chain.MachinePrefix(m))
	folder, file, ok := strings.Cut(rest, "/")
	if !ok {
		return true
	}
	epoch, _, _ := strings.Cut(strings.TrimSuffix(file, ".json"), ".")
	_, g, e, err := chain.ParseClaimName(chain.MachinePrefix(m) + folder + "/" + epoch + ".json")
	if err != nil {
		return true
	}
	return s.wants(g) && (s.To.IsZero() || e <= s.To.Epoch)
}

func entries(ctx context.Context, s vault.Store, prefix string) ([]vault.Entry, error) {
	var all []vault.Entry
	for e, err := range s.List(ctx, prefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", prefix, err)
		}
		all = append(all, e)
	}
	return all, nil
}
