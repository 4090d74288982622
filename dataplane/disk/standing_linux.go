package disk

import (
	"fmt"
	"path/filepath"
	"strconv"

	"farshore/dataplane/block"
)

// Standing is a mounted file system that stands directly on a disk: sector n of the file system is sector Extent.Start + n
// of the disk, with nothing in between that could place it elsewhere.
type Standing struct {
	FileSystem
	Extent       block.Extent // the disk, or the partition of it
	Major, Minor uint32       // of the disk or the partition
}

// Standing lists the mounted file systems that stand directly on the device or on a partition of it, in the order of
// [FileSystems]. What stands on it through device mapper, md or a loop device is in others.
func (d *Device) Standing() (direct []Standing, others []FileSystem, err error) {
	systems, err := FileSystems(d)
	if err != nil {
		return nil, nil, err
	}
	places, err := d.places()
	if err != nil {
		return nil, nil, err
	}
	for _, fs := range systems {
		place, ok := places[fs.number]
		if !ok {
			others = append(others, fs)
			continue
		}
		place.FileSystem = fs
		direct = append(direct, place)
	}
	return direct, others, nil
}

// places gives the disk and its partitions by their numbers.
func (d *Device) places() (map[string]Standing, error) {
	places := map[string]Standing{}
	if !d.node {
		return places, nil
	}
	sectors, err := d.Sectors()
	if err != nil {
		return nil, err
	}
	places[fmt.Sprintf("%d:%d", d.major, d.minor)] = Standing{Extent: block.Extent{Count: sectors}, Major: d.major, Minor: d.minor}
	found, err := filepath.Glob(d.sys("*/partition"))
	if err != nil {
		return nil, fmt.Errorf("list the partitions of %s: %w", d.path, err)
	}
	for _, path := range found {
		dir := filepath.Dir(path)
		number := attribute(filepath.Join(dir, "dev"))
		start, err1 := strconv.ParseUint(attribute(filepath.Join(dir, "start")), 10, 64)
		count, err2 := strconv.ParseUint(attribute(filepath.Join(dir, "size")), 10, 64)
		var p Standing
		_, err3 := fmt.Sscanf(number, "%d:%d", &p.Major, &p.Minor)
		if err1 != nil || err2 != nil || err3 != nil {
			continue // it was deleted while we looked
		}
		p.Extent = block.Extent{Start: block.Sector(start), Count: block.Count(count)}
		places[number] = p
	}
	return places, nil
}
