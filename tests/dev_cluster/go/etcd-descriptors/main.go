// Prints etcd's public API as its Go modules describe it: one sorted line for each service, method, message, field, enum
// and value. Messages that only etcd's own members exchange are left out.
package main

import (
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/protobuf/reflect/protoreflect"
)

var lines []string

func main() {
	// Each message stands for the file that declares it.
	for _, message := range []protoreflect.ProtoMessage{
		&mvccpb.KeyValue{}, &authpb.User{}, &etcdserverpb.RangeRequest{}, &v3lockpb.LockRequest{}, &v3electionpb.CampaignRequest{},
	} {
		file(message.ProtoReflect().Descriptor().ParentFile())
	}
	slices.Sort(lines)
	fmt.Println(strings.Join(lines, "\n"))
}

func file(file protoreflect.FileDescriptor) {
	line(file, "package", file.Syntax())
	for i := range file.Services().Len() {
		service := file.Services().Get(i)
		line(service, "service")
		for j := range service.Methods().Len() {
			method := service.Methods().Get(j)
			line(method, "method", "takes", stream(method.IsStreamingClient()), method.Input().FullName(),
				"returns", stream(method.IsStreamingServer()), method.Output().FullName())
		}
	}
	for i := range file.Messages().Len() {
		message(file.Messages().Get(i))
	}
	for i := range file.Enums().Len() {
		enum(file.Enums().Get(i))
	}
	for i := range file.Extensions().Len() {
		line(file.Extensions().Get(i), "extension")
	}
}

func message(descriptor protoreflect.MessageDescriptor) {
	line(descriptor, "message")
	for i := range descriptor.ReservedRanges().Len() {
		reserved := descriptor.ReservedRanges().Get(i)
		line(descriptor, "reserves", reserved[0], "to", reserved[1])
	}
	for i := range descriptor.ReservedNames().Len() {
		line(descriptor, "reserves", descriptor.ReservedNames().Get(i))
	}
	for i := range descriptor.Fields().Len() {
		field(descriptor.Fields().Get(i))
	}
	for i := range descriptor.Messages().Len() {
		message(descriptor.Messages().Get(i))
	}
	for i := range descriptor.Enums().Len() {
		enum(descriptor.Enums().Get(i))
	}
}

func field(descriptor protoreflect.FieldDescriptor) {
	words := []any{descriptor.Number(), descriptor.Cardinality(), descriptor.Kind()}
	if descriptor.Message() != nil {
		words = append(words, descriptor.Message().FullName())
	}
	if descriptor.Enum() != nil {
		words = append(words, descriptor.Enum().FullName())
	}
	words = append(words, "json", descriptor.JSONName())
	if descriptor.HasOptionalKeyword() {
		words = append(words, "explicit")
	}
	if descriptor.IsPacked() {
		words = append(words, "packed")
	}
	if oneof := descriptor.ContainingOneof(); oneof != nil && !oneof.IsSynthetic() {
		words = append(words, "oneof", oneof.Name())
	}
	line(descriptor, "field", words...)
}

func enum(descriptor protoreflect.EnumDescriptor) {
	line(descriptor, "enum")
	for i := range descriptor.ReservedRanges().Len() {
		reserved := descriptor.ReservedRanges().Get(i)
		// The end of an enum's range is included, that of a message's is not.
		line(descriptor, "reserves", reserved[0], "to", reserved[1])
	}
	for i := range descriptor.ReservedNames().Len() {
		line(descriptor, "reserves", descriptor.ReservedNames().Get(i))
	}
	for i := range descriptor.Values().Len() {
		value := descriptor.Values().Get(i)
		line(value, "value", value.Number(), "of", descriptor.FullName())
	}
}

func line(descriptor protoreflect.Descriptor, kind string, words ...any) {
	options := descriptor.Options().ProtoReflect()
	deprecated := options.Descriptor().Fields().ByName("deprecated")
	if deprecated != nil && options.Get(deprecated).Bool() {
		words = append(words, "deprecated")
	}
	name := fmt.Sprint(descriptor.FullName(), ": ", kind)
	text := strings.Fields(fmt.Sprintln(append([]any{name}, words...)...))
	lines = append(lines, strings.Join(text, " "))
}

func stream(streaming bool) string {
	if streaming {
		return "stream"
	}
	return ""
}
