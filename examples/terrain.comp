// Lights a height field from the side and colours it by height: one invocation per pixel.
#version 450
layout(local_size_x = 8, local_size_y = 8) in;

layout(std430, binding = 0) readonly buffer Heights { float heights[]; };
layout(std430, binding = 1) readonly buffer Palette { vec4 colours[]; };
layout(std430, binding = 2) writeonly buffer Picture { uint pixels[]; };
layout(std140, binding = 3) uniform Frame { uint side; float sun; };

float height(ivec2 at) {
  at = clamp(at, ivec2(0), ivec2(int(side) - 1));
  return heights[uint(at.y) * side + uint(at.x)];
}

void main() {
  const ivec2 at = ivec2(gl_GlobalInvocationID.xy);
  if (at.x >= int(side) || at.y >= int(side)) return;
  const float here = height(at);
  const vec2 slope = vec2(height(at + ivec2(1, 0)) - height(at - ivec2(1, 0)),
                          height(at + ivec2(0, 1)) - height(at - ivec2(0, 1)));
  const vec3 normal = normalize(vec3(-slope * float(side) * 0.2, 1.0));
  const vec3 light = normalize(vec3(cos(sun), sin(sun), 0.8));
  const float water = 0.38;
  const float shade = here <= water ? 0.85 : 0.25 + 0.75 * max(dot(normal, light), 0.0);
  const uint index = uint(clamp(here, 0.0, 0.999) * 256.0);
  pixels[uint(at.y) * side + uint(at.x)] =
      packUnorm4x8(vec4(colours[index].rgb * shade, 1.0));
}
