/** Models of one matrix product, written as the protobuf messages that they are. */

type Value = number | string | Buffer | readonly Field[];
type Field = readonly [number, Value];

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127) {
    bytes.push((rest % 128) + 128);
    rest = Math.floor(rest / 128);
  }
  return Buffer.from([...bytes, rest]);
}

/** A message of its fields, in order; a nested array of fields is a nested message. */
function message(...fields: readonly Field[]): Buffer {
  const parts = fields.map(([number, value]) => {
    if (typeof value === 'number') return Buffer.concat([varint(number * 8), varint(value)]);
    const bytes =
      typeof value === 'string' ? Buffer.from(value) : Buffer.isBuffer(value) ? value : message(...value);
    return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
  });
  return Buffer.concat(parts);
}

const FLOAT = 1;
const ROWS = 4;
const COLUMNS = 3;

/** Row by row. */
export const WEIGHTS = Array.from({ length: ROWS * COLUMNS }, (_, index) => index / 8 - 0.5);
const BYTES = Buffer.from(Float32Array.from(WEIGHTS).buffer);

/** A frozen TensorFlow graph: `x` of [?,4] times the weights gives `y` of [?,3]. */
export function frozenGraph(): Buffer {
  const type: readonly Field[] = [[6, FLOAT]];
  const attribute = (name: string, value: readonly Field[]): Field => [
    5,
    [
      [1, name],
      [2, value],
    ],
  ];
  const shape = (...sizes: readonly Buffer[]): readonly Field[] => sizes.map((size): Field => [2, size]);
  const size = (value: number): Buffer => message([1, value]);
  // -1 as protobuf has it: ten bytes.
  const open = Buffer.from([8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
  const node = (name: string, op: string, inputs: readonly string[], ...attributes: Field[]): Field => [
    1,
    [[1, name], [2, op], ...inputs.map((input): Field => [3, input]), ...attributes],
  ];
  const tensor: readonly Field[] = [
    [1, FLOAT],
    [2, shape(size(ROWS), size(COLUMNS))],
    [4, BYTES],
  ];
  return message(
    node(
      'x',
      'Placeholder',
      [],
      attribute('dtype', type),
      attribute('shape', [[7, shape(open, size(ROWS))]]),
    ),
    node('w', 'Const', [], attribute('dtype', type), attribute('value', [[8, tensor]])),
    node('y', 'MatMul', ['x', 'w'], attribute('T', type)),
  );
}

/** A node of ONNX: `y` is the product of `x` and `w`. */
const PRODUCT: Field = [
  1,
  [
    [1, 'x'],
    [1, 'w'],
    [2, 'y'],
    [3, 'product'],
    [4, 'MatMul'],
  ],
];

/**
 * The same in ONNX.
 * @param external where the weights are kept, relative to the model; within it when absent
 */
export function onnxGraph(external?: string): { readonly model: Buffer; readonly weights: Buffer } {
  const tensor = (name: string, ...sizes: readonly Field[]): readonly Field[] => [
    [1, name],
    [
      2,
      [
        [
          1,
          [
            [1, FLOAT],
            [2, sizes.map((dimension): Field => [1, [dimension]])],
          ],
        ],
      ],
    ],
  ];
  const kept: readonly Field[] =
    external === undefined
      ? [[9, BYTES]]
      : [
          [
            13,
            [
              [1, 'location'],
              [2, external],
            ],
          ],
          [14, 1],
        ];
  const model = message(
    [1, 8],
    [
      7,
      [
        PRODUCT,
        [2, 'graph'],
        [5, [[1, ROWS], [1, COLUMNS], [2, FLOAT], [8, 'w'], ...kept]],
        [11, tensor('x', [2, 'batch'], [1, ROWS])],
        [12, tensor('y', [2, 'batch'], [1, COLUMNS])],
      ],
    ],
    [
      8,
      [
        [1, ''],
        [2, 13],
      ],
    ],
  );
  return { model, weights: BYTES };
}

/** A graph of some bytes whose weights, zeros, take `side` x `side` x 4 bytes once they are made. */
export function swellingGraph(side: number): Buffer {
  const shape = Buffer.from(BigInt64Array.from([BigInt(side), BigInt(side)]).buffer);
  const tensor = (name: string, ...sizes: readonly Field[]): readonly Field[] => [
    [1, name],
    [
      2,
      [
        [
          1,
          [
            [1, FLOAT],
            [2, sizes.map((dimension): Field => [1, [dimension]])],
          ],
        ],
      ],
    ],
  ];
  const INT64 = 7;
  return message(
    [1, 8],
    [
      7,
      [
        [
          1,
          [
            [1, 'shape'],
            [2, 'w'],
            [3, 'zeros'],
            [4, 'ConstantOfShape'],
          ],
        ],
        PRODUCT,
        [2, 'graph'],
        [
          5,
          [
            [1, 2],
            [2, INT64],
            [8, 'shape'],
            [9, shape],
          ],
        ],
        [11, tensor('x', [1, 1], [1, side])],
        [12, tensor('y', [1, 1], [1, side])],
      ],
    ],
    [
      8,
      [
        [1, ''],
        [2, 13],
      ],
    ],
  );
}

/** ONNX: means (`boxes`) and maxima (`scores`) of each channel of `input`, an image of any size, and `rest`, itself. */
export function channelsOnnx(): Buffer {
  const tensor = (name: string): readonly Field[] => [
    [1, name],
    [
      2,
      [
        [
          1,
          [
            [1, FLOAT],
            [2, ['batch', 3, 'height', 'width'].map((size) => dimension(size))],
          ],
        ],
      ],
    ],
  ];
  const dimension = (size: number | string): Field => [1, [typeof size === 'number' ? [1, size] : [2, size]]];
  const INTS = 7;
  const node = (op: string, output: string, ...attributes: Field[]): Field => [
    1,
    [[1, 'input'], [2, output], [3, output], [4, op], ...attributes],
  ];
  const overImage: Field = [
    5,
    [
      [1, 'axes'],
      [8, 2],
      [8, 3],
      [20, INTS],
    ],
  ];
  return message(
    [1, 8],
    [
      7,
      [
        node('ReduceMean', 'boxes', overImage),
        node('ReduceMax', 'scores', overImage),
        node('Relu', 'rest'),
        [2, 'graph'],
        [11, tensor('input')],
        ...['boxes', 'scores', 'rest'].map((name): Field => [12, tensor(name)]),
      ],
    ],
    [
      8,
      [
        [1, ''],
        [2, 13],
      ],
    ],
  );
}

/** TensorFlow, frozen: means of each channel of `input`, images of `side`, are `output`, and those negated `tail`. */
export function channelsGraph(side: number, output: string): Buffer {
  const INT32 = 3;
  const attribute = (name: string, value: Field): Field => [
    5,
    [
      [1, name],
      [2, [value]],
    ],
  ];
  const node = (name: string, op: string, inputs: readonly string[], ...attributes: Field[]): Field => [
    1,
    [[1, name], [2, op], ...inputs.map((input): Field => [3, input]), ...attributes],
  ];
  const sized = (size: number): Field => [2, message([1, size])];
  const open: Field = [2, Buffer.from([8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1])];
  const shape: Field = [7, [open, sized(side), sized(side), sized(3)]];
  const axes: readonly Field[] = [
    [1, INT32],
    [2, [sized(2)]],
    [4, Buffer.from(Int32Array.from([1, 2]).buffer)],
  ];
  return message(
    node('input', 'Placeholder', [], attribute('dtype', [6, FLOAT]), attribute('shape', shape)),
    node('axes', 'Const', [], attribute('dtype', [6, INT32]), attribute('value', [8, axes])),
    node(
      output,
      'Mean',
      ['input', 'axes'],
      attribute('T', [6, FLOAT]),
      attribute('Tidx', [6, INT32]),
      attribute('keep_dims', [5, 0]),
    ),
    node('tail', 'Neg', [output], attribute('T', [6, FLOAT])),
  );
}
