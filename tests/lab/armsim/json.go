package armsim

import "strings"

// at walks a path of names through objects.
func at(o object, path string) any {
	var here any = o
	for name := range strings.SplitSeq(path, ".") {
		m, ok := here.(object)
		if !ok {
			return nil
		}
		here = m[name]
	}
	return here
}

// text is at as a string, "" if it is none.
func text(o object, path string) string {
	s, _ := at(o, path).(string)
	return s
}

// list is at as a list of objects.
func list(o object, path string) []object {
	values, _ := at(o, path).([]any)
	var objects []object
	for _, v := range values {
		if m, ok := v.(object); ok {
			objects = append(objects, m)
		}
	}
	return objects
}

// properties is the object's properties, made if missing.
func properties(o object) object {
	p, ok := o["properties"].(object)
	if !ok {
		p = object{}
		o["properties"] = p
	}
	return p
}

// typeOf is the resource type in an id: "Microsoft.Compute/disks".
func typeOf(id string) string {
	_, rest, ok := strings.Cut(id, "/providers/")
	if !ok {
		return "Microsoft.Resources/resourceGroups"
	}
	parts := strings.Split(rest, "/")
	kind := parts[:1]
	for i := 1; i < len(parts); i += 2 {
		kind = append(kind, parts[i])
	}
	return strings.Join(kind, "/")
}
